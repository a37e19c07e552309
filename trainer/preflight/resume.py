"""Checks of training states: whether there is one, and whether the settings go with it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainer.data.held_out import seed_of_split
from trainer.errors import UserError
from trainer.families.known import PATH, is_hub_id, source
from trainer.families.table import named_by
from trainer.files.job_folder import find_state
from trainer.files.state_folder import StateAbout, check_files, damaged, read_about
from trainer.lora.blocks import block_rates
from trainer.plan.rates import trains_denoiser, trains_text_encoder
from trainer.plan.run import Plan
from trainer.plan.state_facts import file_mark, text_of_value
from trainer.problems import Problem, block, from_error, hint
from trainer.settings import BLOCKWISE, FIXED_BY_STATE, TRAINING, Saving, Settings, matters

THEIRS = ("train_state.json", "optimizer.bin")
"""Files of a state that sd-scripts (accelerate) writes."""
TRAINED_BY_RATE = {"unet_lr": trains_denoiser, "text_encoder_lr": trains_text_encoder}
PLUS = ("loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
MOST_LOOKED_AT = 10_000
"""Files of a folder among which states are looked for."""
BLOCK_RATES = ("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold")


def check(settings: Settings) -> Iterator[Problem]:
    """Problems of the state that a new run begins in."""
    if not settings.saving.resume:
        return
    place, fix = Path(settings.saving.resume), {"resume": ""}
    values = {"label": TRAINING["resume"].spec.label, "path": settings.saving.resume}
    try:
        if not place.exists():
            yield block("resume", "preflight.folder_not_found", fix, **values)
        elif not (state := find_state(place)) and (near := _near(place)):
            values["found"] = str(near)
            yield block("resume", "preflight.state_near", {"resume": str(near)}, **values)
        elif not state:
            theirs = any((place / name).exists() for name in THEIRS)
            code = "preflight.state_of_others" if theirs else "preflight.state_missing"
            yield block("resume", code, fix, path=settings.saving.resume)
        else:
            about = read_about(state)
            check_files(about)
            yield from differences(about, settings)
            yield from _judging(about, settings)
            if settings.network.network_weights and not settings.network.dim_from_weights:
                yield hint("network_weights", "preflight.resume_start_file", {"network_weights": ""})
    except UserError as error:
        yield from_error(error, fix)
    except OSError:  # its folder may not be looked into
        yield from_error(damaged(place), fix)


def _near(place: Path) -> Path | None:
    """The state that is probably meant: that of this file or LoRA, or of this job, or the newest in here."""
    if place.is_file():
        meant = [place.parent, place.with_name(f"{place.stem}-state")]
    else:
        states = [path for path in islice(place.iterdir(), MOST_LOOKED_AT) if path.name.endswith("-state")]
        meant = [place / "state", *sorted(states, key=lambda path: path.stat().st_mtime, reverse=True)]
    return next((path for path in meant if find_state(path)), None)


def check_plan(about: StateAbout | None, plan: Plan) -> Iterator[Problem]:
    """Whether the state leaves anything to do."""
    if about and about.step >= plan.total_steps > 0:
        key = plan.decided_by
        more = plan.total_steps if key == "max_train_steps" else plan.epochs
        done = about.step if key == "max_train_steps" else -(-about.step // max(1, plan.steps_per_epoch))
        values = {"done": f"{about.step:,}", "total": f"{plan.total_steps:,}"}
        values["label"] = TRAINING[key].spec.label
        yield block(key, "preflight.resume_done", {key: done + more}, **values)


def about_to_resume(saving: Saving) -> StateAbout | None:
    """What the state says that a new run begins in; None where there is none that can be read (yet)."""
    is_local = saving.resume and not saving.resume_from_huggingface
    try:
        state = find_state(Path(saving.resume)) if is_local else None
        return read_about(state) if state else None
    except (UserError, OSError):
        return None


def differences(about: StateAbout, settings: Settings) -> Iterator[Problem]:
    """Settings that must be those of the run that wrote the state, and are not.

    Raises UserError for a state that names what is no setting's value.
    """
    then = _settings_then(about)
    yield from _other_model(about, then, settings)
    for key in FIXED_BY_STATE:
        old, new = then.get(key), settings.get(key)
        counts = any(matters(key, values.flat()) for values in (then, settings))
        if key in about.settings and counts and not _same(old, new):
            values = {"label": TRAINING[key].spec.label, "old": text_of_value(old), "new": text_of_value(new)}
            yield block(key, "preflight.resume_fixed", {key: old}, **values)
    if about.settings:
        yield from _other_parts(then, settings)
        yield from _other_groups(then, settings)


def _settings_then(about: StateAbout) -> Settings:
    """The settings of the run that wrote the state; what a version did not have yet has its default."""
    values = {key: value for key, value in about.settings.items() if key in TRAINING}
    try:
        return Settings.from_flat(values)
    except ValidationError as error:
        # Section and key come first; of a value that may be of several kinds, the kind comes last.
        bad = {str(detail["loc"][1]) for detail in error.errors()}
    if bad & {*FIXED_BY_STATE, *TRAINED_BY_RATE, "learning_rate"}:
        raise damaged(about.folder)
    return Settings.from_flat({key: value for key, value in values.items() if key not in bad})


def _same(old: Any, new: Any) -> bool:
    texts = isinstance(old, str) and isinstance(new, str)
    return "".join(old.split()) == "".join(new.split()) if texts else old == new


def _other_model(about: StateAbout, then: Settings, settings: Settings) -> Iterator[Problem]:
    """Another base model. One that has only been moved is the same."""
    (old, key), (new, setting) = source(then.model), source(settings.model)
    if not old or not new or old == new:
        return
    marks = about.facts.get("files")
    mark = marks.get(PATH) if isinstance(marks, dict) else None
    size_then, size_now = mark[:1] if isinstance(mark, list) else [], file_mark(new)[:1]
    same_name = Path(old).name == Path(new).name
    if same_name and (not size_then or not size_now or size_then == size_now):
        return
    # A path that a stranger wrote may name a server, which must not be asked.
    is_there = is_hub_id(old) or (not old.startswith(("//", "\\\\")) and file_mark(old))
    fix = {"model_list": then.model.model_list, key: old} if is_there else None
    names = (old, new) if same_name else (Path(old).name, Path(new).name)
    yield block(setting, "preflight.resume_model", fix, old=names[0], new=names[1])


def _other_parts(then: Settings, settings: Settings) -> Iterator[Problem]:
    """A part that was trained must be trained on; one that was not has nothing in the state."""
    for key, trains in TRAINED_BY_RATE.items():
        was, now = trains(then.optimizer), trains(settings.optimizer)
        if was != now:
            code = "preflight.resume_part_off" if was else "preflight.resume_part_on"
            fix = {key: then.get(key), "learning_rate": then.optimizer.learning_rate}
            yield block(key, code, fix, label=TRAINING[key].spec.label)


def _judging(about: StateAbout, settings: Settings) -> Iterator[Problem]:
    """Pictures that are kept back now and were not then: what was learned from them makes them no judges."""
    then, share = _settings_then(about), settings.validation.validation_split
    was = then.validation.validation_split
    other = was and seed_of_split(then) != seed_of_split(settings)
    if about.settings and share and (share > was or other):
        yield hint("validation_split", "preflight.resume_judged", {"validation_split": 0.0})


def _other_groups(then: Settings, settings: Settings) -> Iterator[Problem]:
    """Rates may change, but not whether lora_up or a block has one of its own."""
    for key in PLUS:
        old, new = ((run.get(key) or run.optimizer.loraplus_lr_ratio) for run in (then, settings))
        if bool(old) != bool(new):
            fix = {name: then.get(name) for name in ("loraplus_lr_ratio", *PLUS)}
            values = {"label": TRAINING[key].spec.label, "old": text_of_value(old), "new": text_of_value(new)}
            yield block(key, "preflight.resume_fixed", fix, **values)
            return
    was, now = _blocks(then), _blocks(settings)
    if was != now:
        both = was is not None and now is not None
        code = "blocks" if both else "block_rates_on" if was is None else "block_rates_off"
        fix = {key: then.get(key) for key in BLOCK_RATES}
        label = TRAINING[BLOCK_RATES[0]].spec.label
        yield block(BLOCK_RATES[0], f"preflight.resume_{code}", fix, label=label)


def _blocks(settings: Settings) -> list[bool] | None:
    """Which blocks learn, where they have rates of their own."""
    if settings.network.LoRA_type not in BLOCKWISE:
        return None
    try:
        rates = block_rates(settings.network, named_by(settings.model).blocks)
    except UserError:  # told by the checks of these settings
        return None
    return None if rates is None else [rate > 0 for rate in rates]
