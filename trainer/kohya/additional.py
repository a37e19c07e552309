""" "Additional parameters": sd-scripts' options typed by hand; they have the last word.

Every option ends in a setting of ours, or in a problem that says why it does not: nothing typed there is
ignored silently.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.files.paths import clean_path, with_clean_paths
from trainer.files.reading import decoded, read_bytes
from trainer.files.roots import MayRead
from trainer.kohya import networks
from trainer.kohya.command import options, split_command, text_of
from trainer.kohya.fitting import fit
from trainer.kohya.launch_arguments import read_launch_arguments
from trainer.kohya.read_sd_scripts import NO_EFFECT, draft_from_options
from trainer.kohya.report import Entry, short
from trainer.kohya.schedule_options import ARGUMENT_OF, schedule_takes, with_argument
from trainer.kohya.sd_defaults import DEFAULTS
from trainer.problems import Problem, block, hint, some_names
from trainer.settings import TRAINING, Settings

TYPED_TEXT = "additional_parameters"
OFF = {
    "network_train_unet_only": "text_encoder_lr",
    "network_train_text_encoder_only": "unet_lr",
}
"""Options that switch a part off, and the rate that says so here."""
MOST_UNKNOWN = 3
"""Unknown options that are told one by one, with the name that was perhaps meant."""
SECRETS = tuple(key for key, setting in TRAINING.items() if setting.is_secret)


@dataclass(frozen=True)
class Typed:
    """What the typed options mean."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """Setting -> value."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Setting -> the option that set it."""
    problems: tuple[Problem, ...] = ()
    found: Mapping[str, Any] = field(default_factory=dict)
    """The options as typed."""

    def without(self, *names: str) -> str:
        """The text without some options."""
        return text_of({name: value for name, value in self.found.items() if name not in names})


def applied(settings: Settings, may_read: MayRead | None = None) -> Settings:
    """The settings that count: the form's, with the last word of typed launch arguments and options.

    Their paths are cleaned. `may_read`: as for `read`.
    """
    settings = with_clean_paths(settings)
    values = {**read_launch_arguments(settings.machine).values, **read(settings, may_read).values}
    return with_clean_paths(settings.replace(**values)) if values else settings


def read(settings: Settings, may_read: MayRead | None = None) -> Typed:
    """The typed options as settings, and what is wrong with them.

    `may_read` says which files may be opened that an option names (None: any).
    """
    text = settings.records.additional_parameters
    if not text.strip():
        return Typed()
    try:
        typed, loose = options(split_command(text))
    except UserError:
        return Typed(problems=(block(TYPED_TEXT, "preflight.parameter_quote", None),))
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if loose:
        words, fix = short(" ".join(loose)), {TYPED_TEXT: text_of(typed)}
        problems.append(block(TYPED_TEXT, "preflight.parameter_loose", fix, words=words))
    unknown = [name for name in typed if name not in DEFAULTS and name not in TRAINING]
    if len(unknown) > MOST_UNKNOWN:
        known = {name: value for name, value in typed.items() if name not in unknown}
        problems.append(_several_unknown(unknown, {TYPED_TEXT: text_of(known)}))
        typed = known
    for name, result in _read_options(settings, typed, may_read):
        if isinstance(result, Problem):
            problems.append(result)
        else:
            values |= result
            sources |= dict.fromkeys(result, name)
    problems += _contradictions(settings, values, sources, typed)
    return Typed(values, sources, tuple(problems), typed)


def with_fixes_that_count(problems: list[Problem], typed: Typed) -> list[Problem]:
    """Problems whose fixes also take out the typed option that would undo them."""
    return [_mended(problem, typed) for problem in problems]


def _mended(problem: Problem, typed: Typed) -> Problem:
    hits = [typed.options[key] for key in problem.fix or () if key in typed.options]
    if not hits or TYPED_TEXT in (problem.fix or {}):
        return problem
    fix = {**(problem.fix or {}), TYPED_TEXT: typed.without(*hits)}
    return Problem(problem.setting, problem.code, problem.values, problem.blocks, fix)


def _contradictions(
    settings: Settings, values: Mapping[str, Any], sources: Mapping[str, str], typed: Mapping[str, Any]
) -> Iterator[Problem]:
    """One hint for each option that says something else than the form; its fix moves it there."""
    for option in dict.fromkeys(sources.values()):
        mine = {key: values[key] for key, source in sources.items() if source == option}
        differing = {key: value for key, value in mine.items() if value != settings.get(key)}
        if not differing:
            continue
        key = next(iter(differing))
        remaining = text_of({name: value for name, value in typed.items() if name != option})
        yield hint(
            TYPED_TEXT,
            "preflight.parameter_wins",
            {**differing, TYPED_TEXT: remaining},
            option=option,
            label=TRAINING[key].spec.label,
            value=short(differing[key]),
            form=short(settings.get(key)),
        )


def _read_options(
    settings: Settings, typed: Mapping[str, Any], may_read: MayRead | None
) -> Iterator[tuple[str, Mapping[str, Any] | Problem]]:
    """Each option with its settings, or with what is wrong."""
    draft = draft_from_options(_in_context(settings, typed))
    for name, value in typed.items():
        fix = {
            TYPED_TEXT: text_of({option: argument for option, argument in typed.items() if option != name})
        }
        if name in SECRETS:
            yield name, block(TYPED_TEXT, "preflight.parameter_secret", fix, option=name)
        elif value is None:
            yield name, block(TYPED_TEXT, "preflight.parameter_no_value", fix, option=name)
        elif name in OFF:
            yield name, {OFF[name]: 0.0}
        elif name == "torch_compile":
            yield name, {"dynamo_backend": draft.values["dynamo_backend"]}
        elif name == "sample_prompts":
            yield name, _prompt_file(str(value), fix, may_read)
        elif name in ARGUMENT_OF:
            yield (
                name,
                _schedule_option(settings, draft.values if "lr_scheduler" in typed else {}, name, value),
            )
        elif name in DEFAULTS:
            entries = [entry for entry in draft.entries if entry.key.partition(" ")[0] == name]
            entries += [
                entry for entry in draft.entries if name == "network_args" and entry.setting == "LoRA_type"
            ]
            yield name, _from_entries(name, value, entries, fix)
        elif name in TRAINING:
            yield name, _own(name, value, fix)
        else:
            yield name, _unknown(name, fix)


def _in_context(settings: Settings, typed: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with those of the form without which some cannot be read."""
    network = settings.network
    context: dict[str, Any] = dict(typed)
    args = networks.parts_of(typed.get("network_args"))
    if args and "network_module" not in typed:
        context["network_module"] = networks.network_module(network)
        algo = networks.LYCORIS_ARGS.get(network.LoRA_type, ("",))[0]
        if algo and not any(arg.startswith("algo=") for arg in args):
            context["network_args"] = [*args, f"algo={algo}"]
    return {"network_dim": network.network_dim, "network_alpha": network.network_alpha, **context}


def _from_entries(
    name: str, value: Any, entries: list[Entry], fix: Mapping[str, Any]
) -> Mapping[str, Any] | Problem:
    """What the import of sd-scripts' options makes of one of them."""
    odd = next((entry for entry in entries if entry.attention), None)
    if odd and odd.why == "kohya.no_setting":
        return block(TYPED_TEXT, "preflight.parameter_missing", fix, option=name)
    if odd:
        return block(TYPED_TEXT, "preflight.parameter_value", fix, option=name, value=short(value))
    if name in NO_EFFECT or any(entry.why == "kohya.no_effect" for entry in entries):
        return hint(TYPED_TEXT, "preflight.parameter_idle", fix, option=name)
    return {entry.setting: entry.now for entry in entries if entry.setting}


def _own(name: str, value: Any, fix: Mapping[str, Any]) -> Mapping[str, Any] | Problem:
    """A setting of ours that sd-scripts has no option for, by its key."""
    fitted = fit(TRAINING[name], value, TRAINING[name].default)
    if fitted.attention:
        return block(TYPED_TEXT, "preflight.parameter_value", fix, option=name, value=short(value))
    return {name: fitted.value}


def _unknown(name: str, fix: Mapping[str, Any]) -> Problem:
    near = difflib.get_close_matches(name, [*DEFAULTS, *TRAINING], n=1)
    if near:
        return block(TYPED_TEXT, "preflight.parameter_unknown_near", fix, option=name, near=near[0])
    return block(TYPED_TEXT, "preflight.parameter_unknown", fix, option=name)


def _several_unknown(options: list[str], fix: Mapping[str, Any]) -> Problem:
    """One problem for all: a text that is none of options would else give one for each of its words."""
    listed = some_names([f"--{option}" for option in options])
    return block(TYPED_TEXT, "preflight.parameters_unknown", fix, count=f"{len(options):,}", names=listed)


def _schedule_option(
    settings: Settings, typed: Mapping[str, Any], name: str, value: Any
) -> Mapping[str, Any] | Problem:
    schedule = typed.get("lr_scheduler", settings.optimizer.lr_scheduler)
    if schedule_takes(schedule, name):
        return {"lr_scheduler_args": with_argument(settings.optimizer.lr_scheduler_args, name, value)}
    return hint(TYPED_TEXT, "preflight.parameter_idle", None, option=name)


def _prompt_file(path: str, fix: Mapping[str, Any], may_read: MayRead | None) -> Mapping[str, Any] | Problem:
    """--sample_prompts names a file; its lines are the setting."""
    file = Path(clean_path(path))
    try:
        if may_read is None or may_read(file):
            return {"sample_prompts": decoded(read_bytes(file), file.name)}
    except UserError:  # told below
        pass
    return block(TYPED_TEXT, "preflight.parameter_value", fix, option="sample_prompts", value=short(path))
