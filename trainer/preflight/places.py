"""With --listen: every place that a run looks into or writes to lies in the allowed folders.

This is judged here and nowhere else, for the page before it reads anything and for the trainer once more (a
waiting job's files may change). The settings are judged as they will be used: with "Additional parameters",
relative paths, "~" and links, what the dataset file and the tracker config name, and links among the files.
Nothing outside is opened, nor is it told what is there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.data.dataset_file import DatasetFileError, named_places
from trainer.errors import UserError
from trainer.files.hub import REPO
from trainer.files.job_folder import PROJECT
from trainer.files.paths import PATH_SETTINGS, can_exist, clean_path, is_closed, with_clean_paths
from trainer.files.reading import read_toml
from trainer.files.roots import MayRead, Roots, is_link
from trainer.kohya import additional
from trainer.kohya.read_sd_scripts import SETTING_OF
from trainer.problems import Problem, block
from trainer.settings import TRAINING, Settings

HUB_SETTINGS = ("pretrained_model_name_or_path", "vae", "model_list")
"""Settings that may name a model of the hub instead of a place."""
PLACES = (*PATH_SETTINGS, "model_list")
FREE_TEXTS = {key for key, setting in TRAINING.items() if setting.kind == "text"} - {
    *PLACES,
    "sample_prompts",
}
"""Settings of free text that name no place, whatever they hold."""
TRACKER_WORDS = frozenset(("entity", "group", "id", "job_type", "name", "notes", "project", "tags"))
"""Options of a tracker that name no place."""
DEPTH = {"logging_dir": 1, "output_dir": 0}
"""Levels of folders in which links are looked for, where it is not `DEEPEST_LINK`."""
DEEPEST_LINK = 2
"""As deep as pictures, models and states lie below the folder that a setting names."""


def check(settings: Settings, roots: Roots | None) -> tuple[Problem, ...]:
    """What leads out of the folders, by setting. () where nothing does, and where all may be used.

    `settings` are the form's; what "Additional parameters" makes of them is judged as well.
    """
    if roots is None or not roots.strict:
        return ()
    typed = additional.read(settings, may_read(roots))
    counted = additional.applied(settings, may_read(roots))
    problems = [
        *_options(typed, roots),
        *_settings(with_clean_paths(settings), additional.Typed(), roots),
        *_settings(counted, typed, roots),
    ]
    # What lies outside is not looked at, so what it names or holds is no question.
    problems = problems or [*_dataset(counted, roots), *_tracker(counted, roots)]
    problems = problems or [*_links(counted, roots)]
    return tuple({(problem.setting, problem.values["path"]): problem for problem in problems}.values())


def impossible_paths(settings: Settings) -> tuple[Problem, ...]:
    """Paths that no system can have, by setting: with them nothing else could be looked at."""
    keys = [key for key in (*PLACES, additional.TYPED_TEXT) if not _can_be(key, settings.get(key))]
    values = {key: {"label": TRAINING[key].spec.label, "path": settings.get(key)[:60]} for key in keys}
    return tuple(block(key, "preflight.path_impossible", {key: ""}, **values[key]) for key in keys)


def closed_paths(settings: Settings) -> tuple[Problem, ...]:
    """Paths in folders that this account may not look into, by setting."""
    keys = [key for key in PLACES if settings.get(key) and is_closed(settings.get(key))]
    values = {key: {"label": TRAINING[key].spec.label, "path": settings.get(key)[:300]} for key in keys}
    return tuple(block(key, "preflight.path_closed", _cleared(key), **values[key]) for key in keys)


def _can_be(key: str, text: str) -> bool:
    return "\0" not in text if key == additional.TYPED_TEXT else can_exist(text)


def require_within(settings: Settings, roots: Roots | None) -> None:
    """Raise UserError for the first place outside."""
    for problem in check(settings, roots):
        raise UserError(problem.code, problem.setting, **problem.values)


def may_read(roots: Roots | None) -> MayRead | None:
    """For readers of files that name others: which of them may be opened. None: any."""
    if roots is None or not roots.strict:
        return None
    return lambda path: not leads_out(path, roots)


def leads_out(path: str | Path, roots: Roots) -> bool:
    """Whether a path lies outside, from wherever one of our processes looks it up."""
    return any(roots.place(place) is None for place in lookups(path))


def lookups(path: str | Path) -> tuple[Path, ...]:
    """A path as the page and the trainer see it: a relative one begins where each of them was started.

    A text is cleaned, as settings are.
    """
    path = Path(clean_path(path)) if isinstance(path, str) else path
    return (path,) if path.is_absolute() else tuple(base / path for base in _bases())


def _bases() -> tuple[Path, ...]:
    return tuple(dict.fromkeys((Path.cwd(), PROJECT)))


def _outside(setting: str, path: str, roots: Roots, fix: Mapping[str, Any] | None, code: str = "") -> Problem:
    values = {"label": TRAINING[setting].spec.label, "path": path[:300], "folders": roots.names()}
    return block(setting, code or "preflight.outside", fix, **values)


def _options(typed: additional.Typed, roots: Roots) -> Iterator[Problem]:
    """Typed options: also those without a setting, so that none is obeyed one day unseen."""
    for name, value in typed.found.items():
        if SETTING_OF.get(name, name) in FREE_TEXTS:
            continue
        for text in value if isinstance(value, list) else [value]:
            named = str(text).partition("=")[2] or str(text)
            if (_looks_like_a_place(named) or name == "sample_prompts") and leads_out(named, roots):
                yield _outside(
                    additional.TYPED_TEXT, named, roots, {additional.TYPED_TEXT: typed.without(name)}
                )


def _looks_like_a_place(text: str) -> bool:
    """An absolute path of any system, one from the home folder, or one that climbs."""
    path = clean_path(text)
    return bool(re.match(r"[/\\~]|[A-Za-z]:[/\\]", path)) or ".." in re.split(r"[/\\]", path)


def _settings(settings: Settings, typed: additional.Typed, roots: Roots) -> Iterator[Problem]:
    for key in PLACES:
        text = settings.get(key)
        if not text or (key in HUB_SETTINGS and _is_a_name(text)) or not leads_out(text, roots):
            continue
        if key in typed.options:
            fix = {additional.TYPED_TEXT: typed.without(typed.options[key])}
            yield _outside(additional.TYPED_TEXT, text, roots, fix)
        else:
            yield _outside(key, text, roots, _cleared(key))


def _cleared(key: str) -> dict[str, Any] | None:
    return None if TRAINING[key].spec.required else {key: TRAINING[key].default}


def _is_a_name(text: str) -> bool:
    """Whether a model is looked up on the hub (or is "custom"): nothing of that name is in reach here."""
    exists = any(os.path.lexists(base / text) for base in _bases())
    dots = any(not part.strip(".") for part in text.split("/"))
    return text == "custom" or (bool(REPO.fullmatch(text)) and not exists and not dots)


def _dataset(settings: Settings, roots: Roots) -> Iterator[Problem]:
    """The folders that a dataset file names."""
    key = "dataset_config"
    for place in _dataset_places(settings):
        if leads_out(place, roots):
            yield _outside(key, str(place), roots, {key: ""}, "preflight.outside_in_file")


def _dataset_places(settings: Settings) -> list[Path]:
    config = settings.folders.dataset_config
    return [place for path in (lookups(config) if config else ()) for place in _named_in(path)]


def _named_in(dataset_file: Path) -> list[Path]:
    try:
        return named_places(dataset_file)
    except DatasetFileError:  # told by another check
        return []


def _tracker(settings: Settings, roots: Roots) -> Iterator[Problem]:
    """Places among the options of "Log tracker config": they stand for whole paths, inside."""
    key = "log_tracker_config"
    config = settings.records.log_tracker_config
    for path in lookups(config) if config else ():
        for text in _texts(_options_in(path)):
            if re.search(r"[/\\~]|\.\.", text) and roots.place(clean_path(text)) is None:
                yield _outside(key, text, roots, {key: ""}, "preflight.outside_in_file")


def _options_in(tracker_config: Path) -> dict[str, Any]:
    try:
        return read_toml(tracker_config)
    except UserError:  # told by another check
        return {}


def _texts(value: Any) -> Iterator[str]:
    """All texts in tables and lists, but those that name no place."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in TRACKER_WORDS:
                yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _links(settings: Settings, roots: Roots) -> Iterator[Problem]:
    """Links that lead out of a folder that is used."""
    used = [(key, place) for key in PATH_SETTINGS if (text := settings.get(key)) for place in lookups(text)]
    for named in _dataset_places(settings):
        used += [("dataset_config", place) for place in lookups(named)]
    for key, place in used:
        for link in links_out(place, DEPTH.get(key, DEEPEST_LINK), roots):
            yield _outside(key, str(link), roots, _cleared(key), "preflight.outside_link")


def links_out(folder: Path, depth: int, roots: Roots) -> Iterator[Path]:
    """The links in a folder, and in those below it, that lead out."""
    if not depth:
        return
    try:
        with os.scandir(folder) as scan:
            entries = list(scan)
    except (OSError, ValueError):  # gone, no folder, or a name that no system can have
        return
    for entry in entries:
        if is_link(entry) and roots.place(entry.path) is None:
            yield Path(entry.path)
        elif _is_folder(entry):
            yield from links_out(Path(entry.path), depth - 1, roots)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
