"""Checks of the dataset file: usable, what of it is not followed, and where it goes before the form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.data.buckets import resolution
from trainer.data.dataset_file import (
    DatasetFile,
    DatasetFileError,
    Remark,
    is_listed,
    read_dataset_file,
    read_places,
)
from trainer.data.datasets import Dataset, Subset
from trainer.data.folders import FolderScan
from trainer.kohya.read_sd_scripts import draft_from_options
from trainer.kohya.report import short
from trainer.kohya.source import flatten
from trainer.messages import Message
from trainer.preflight.folders import check_broken, check_captions, check_reg_fits
from trainer.preflight.no_file import no_file
from trainer.problems import LONGEST_SHOWN, Problem, block, hint, some_names
from trainer.settings import TRAINING, Captions, Settings

KEY = "dataset_config"
LEFT_OUT = {
    "missing": "preflight.dataset_folder",
    "no_access": "preflight.dataset_folder",
    "zero_repeats": "preflight.dataset_zero_repeats",
    "empty": "preflight.dataset_folder_empty",
}
"""What is said of folders that are not read, by the reason why."""
STOPPING = {"preflight.dataset_folder", "preflight.dataset_metadata_file"}
SAID_OF_CAPTIONS = {
    "preflight.captions_elsewhere": "preflight.dataset_captions_elsewhere",
    "preflight.captions_none": "preflight.dataset_captions_none",
    "preflight.captions_no_words": "preflight.dataset_captions_no_words",
    "preflight.captions_some": "preflight.dataset_captions_some",
    "preflight.captions_blank": "preflight.dataset_captions_blank",
}
"""What is said of captions where the file has the words of pictures without one."""


def check(
    settings: Settings, datasets: Sequence[Dataset], pictures: FolderScan, reg: FolderScan
) -> Iterator[Problem]:
    """Problems of the file itself; `pictures` and `reg` are what `scans` found by it."""
    path = Path(settings.folders.dataset_config)
    values = {"label": TRAINING[KEY].spec.label, "path": str(path)}
    if not path.is_file():
        yield no_file(KEY, str(path))
        return
    try:
        file = read_dataset_file(path)
        list(read_places(path))
    except DatasetFileError as error:
        yield block(KEY, "preflight.dataset_damaged", {KEY: ""}, **values, error=str(error))
        return
    yield from _folders(pictures, reg, values)
    for scan in (pictures, reg):
        yield from check_broken(KEY, values["label"], scan)
    yield from _captions(file, settings.captions, pictures)
    for number in range(len(datasets)):
        mine = [[image for image in scan.images if image.subset[0] == number] for scan in (pictures, reg)]
        yield from check_reg_fits(KEY, *mine)
    yield from _remarks(file.remarks)
    yield from _masks_without_masked_loss(file, settings)
    if settings.folders.reg_data_dir:
        yield hint("reg_data_dir", "preflight.dataset_reg_idle", {"reg_data_dir": ""})
    if settings.folders.train_data_dir and not is_listed(settings.folders):
        yield hint("train_data_dir", "preflight.dataset_pictures_idle", {KEY: ""})
    yield from _beside(file, settings)
    yield from _goes_first(datasets, settings)


def _folders(pictures: FolderScan, reg: FolderScan, values: Mapping[str, str]) -> Iterator[Problem]:
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for ignored in (*pictures.ignored, *reg.ignored):
        folders[LEFT_OUT[ignored.reason]].append(_end_of(ignored.name))
    for code, names in folders.items():
        problem = block if code in STOPPING else hint
        yield problem(KEY, code, None, **values, folder=some_names(names))
    if not (pictures.images or pictures.broken or STOPPING & folders.keys()):
        yield block(KEY, "preflight.dataset_empty", {KEY: ""}, **values)


def _end_of(path: str) -> str:
    """A path, of a long one its end: that tells folders apart."""
    return path if len(path) <= LONGEST_SHOWN else f"…{path[1 - LONGEST_SHOWN :]}"


def _captions(file: DatasetFile, captions: Captions, pictures: FolderScan) -> Iterator[Problem]:
    subsets = [subset.values for dataset in file.datasets for subset in dataset.subsets]
    endings = [subset["caption_extension"] for subset in subsets if "caption_extension" in subset]
    if endings:
        captions = captions.model_copy(update={"caption_extension": endings[0]})
    for problem in check_captions(pictures, captions):
        if problem.fix and not endings:
            yield problem
        else:
            yield hint(KEY, SAID_OF_CAPTIONS.get(problem.code, problem.code), None, **problem.values)


def _remarks(remarks: Iterable[Remark]) -> Iterator[Problem]:
    """One problem for all values that are not followed for the same reason."""
    groups: defaultdict[str, list[Remark]] = defaultdict(list)
    for remark in remarks:
        groups[remark.code].append(remark)
    for code, group in groups.items():
        lines = [f"{remark.where} = {short(remark.value)}" for remark in group]
        near = some_names(sorted({remark.near for remark in group if remark.near}))
        problem = block if code in STOPPING else hint
        yield problem(KEY, f"{code}_near" if near else code, None, values=some_names(lines), near=near)


def _masks_without_masked_loss(file: DatasetFile, settings: Settings) -> Iterator[Problem]:
    subsets = [subset for dataset in file.datasets for subset in dataset.subsets]
    named = [subset.name for subset in subsets if subset.values.get("conditioning_data_dir")]
    if named and not settings.images.masked_loss:
        yield hint(KEY, "preflight.dataset_masks_idle", {"masked_loss": True}, values=some_names(named))


def _beside(file: DatasetFile, settings: Settings) -> Iterator[Problem]:
    """Options of a training run beside the datasets: from here they do not count."""
    flat = flatten(file.beside)
    agrees = {
        entry.key: entry.now == settings.get(entry.setting)
        for entry in (draft_from_options(flat).entries if flat else ())
        if entry.setting and entry.key in flat
    }
    differing = [f"{key} = {short(value)}" for key, value in flat.items() if not agrees.get(key)]
    if differing:
        yield hint(KEY, "preflight.dataset_beside", None, values=some_names(differing, most=8))


def _goes_first(datasets: Sequence[Dataset], settings: Settings) -> Iterator[Problem]:
    """Where the file says something else than the form; one click lets the form say the same."""
    rules = [rule for dataset in datasets for rule in (dataset, *dataset.subsets)]
    lines: list[str] = []
    fix: dict[str, Any] = {}
    for key in TRAINING:
        holding = {short(rule.settings[key]): rule.settings[key] for rule in rules if key in rule.settings}
        form = settings.get(key)
        if not any(key in rule.says for rule in rules) or all(
            _same(key, value, form) for value in holding.values()
        ):
            continue
        lines.append(f"**{TRAINING[key].spec.label}** {' / '.join(holding)} ({short(form)})")
        if len(holding) == 1:
            [fix[key]] = holding.values()
    if lines:
        yield hint(KEY, "preflight.dataset_first", fix or None, values=some_names(lines, most=len(TRAINING)))


def _same(key: str, first: Any, second: Any) -> bool:
    if key != "max_resolution":
        return first == second
    try:
        return resolution(first) == resolution(second)
    except ValueError:
        return False


def of_file(problem: Problem, *rules: Dataset | Subset) -> Problem:
    """A problem with a value that the file says, told of the file: its field would not mend it."""
    saying = next((rule for rule in rules if problem.setting in rule.says), None)
    if saying is None:
        return problem
    fix = {key: value for key, value in (problem.fix or {}).items() if key not in saying.says} or None
    message = Message(problem.code, problem.values)
    return Problem(
        KEY, "preflight.dataset_value", {"part": saying.name, "said": message}, problem.blocks, fix
    )
