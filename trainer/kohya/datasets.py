"""sd-scripts' dataset TOML: [general], [[datasets]], [[datasets.subsets]].

Sizes, batch size and captions become settings. Where the subsets lie as folders named <repeats>_<words>
in one place, that place becomes the Image folder; else the file stays as "Dataset config file", and its
folders, repeats, words and caption extensions count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from trainer.data.dataset_file import DATASET_OPTIONS
from trainer.data.musubi import with_subset
from trainer.errors import UserError
from trainer.kohya.draft import Draft
from trainer.kohya.toml_text import dataset_text

DATASET_SETTINGS = {
    "resolution": "max_resolution", "batch_size": "train_batch_size", "enable_bucket": "enable_bucket",
    "min_bucket_reso": "min_bucket_reso", "max_bucket_reso": "max_bucket_reso",
    "bucket_reso_steps": "bucket_reso_steps", "bucket_no_upscale": "bucket_no_upscale",
    "prior_loss_weight": "prior_loss_weight", "max_token_length": "max_token_length",
}  # fmt: skip
SUBSET_SETTINGS = {
    name: name
    for name in (
        "caption_extension", "shuffle_caption", "keep_tokens", "color_aug", "flip_aug", "random_crop",
        "caption_dropout_rate", "caption_dropout_every_n_epochs",
    )
}  # fmt: skip
FOLDER_KEYS = ("image_dir", "num_repeats", "class_tokens", "is_reg", "subsets")
DATASET_KEYS = {*DATASET_SETTINGS, *SUBSET_SETTINGS, *FOLDER_KEYS}


@dataclass(frozen=True)
class SubsetTable:
    """One folder of pictures, as the file describes it."""

    image_dir: str
    num_repeats: int
    class_tokens: str
    is_reg: bool

    def parent(self) -> str:
        """The folder above, where this one is named <repeats>_<words> just so; else ""."""
        path = (PureWindowsPath if "\\" in self.image_dir else PurePosixPath)(self.image_dir)
        number, _, words = path.name.partition("_")
        fits = re.fullmatch(r"\d{1,6}", number) and int(number) == self.num_repeats
        return str(path.parent) if fits and self.class_tokens in ("", words) else ""


def is_dataset(data: Mapping[str, Any]) -> bool:
    """Whether a TOML file is a dataset_config."""
    return isinstance(data.get("datasets"), list) or set(data) == {"general"}


def take_dataset(draft: Draft, data: Mapping[str, Any], path: str) -> None:
    """Put what a dataset file says into a draft. Raises UserError where it is malformed."""
    general = _table(data.get("general", {}))
    sets = [with_subset(_table(dataset)) for dataset in _list(data.get("datasets", []))]
    subsets: list[tuple[str, dict[str, Any]]] = []
    for number, dataset in enumerate(sets):
        own = {key: value for key, value in dataset.items() if key != "subsets"}
        for at, subset in enumerate(_list(dataset.get("subsets", []))):
            subsets.append((f"datasets[{number}].subsets[{at}]", {**general, **own, **_table(subset)}))
    tables = [{**general, **dataset} for dataset in sets] or [general]
    inner = [subset for _, subset in subsets] or [general]
    parents = _parents([_subset(subset) for _, subset in subsets])
    simple = bool(parents) and len(sets) == 1 and not _says_more(inner) and _agree(tables, inner)
    stays = not simple
    for options, of in ((DATASET_SETTINGS, tables), (SUBSET_SETTINGS, inner)):
        for option, setting in options.items():
            _take_common(draft, option, setting, of, stays=stays)
    for name, subset in subsets:
        shown = f"{_subset(subset).image_dir} x {_subset(subset).num_repeats}"
        why = "kohya.subset_as_folder" if simple else "kohya.subset_in_file"
        draft.add(name, "taken", shown, now=shown, why=why)
    _take_places(draft, parents if simple else {}, path)
    if stays and not path:
        draft.dataset = _as_text(general, sets)
    for name, table in [
        ("general", general),
        *((f"datasets[{at}]", dataset) for at, dataset in enumerate(sets)),
        *subsets,
    ]:
        for key, value in table.items():
            if key in DATASET_KEYS or (name != "general" and general.get(key) == value):
                continue
            if stays and key in DATASET_OPTIONS:
                draft.add(f"{name}.{key}", "taken", value, now=value, why="kohya.subset_in_file")
            else:
                draft.add(f"{name}.{key}", "unknown", value, why="kohya.no_setting", attention=True)


def _as_text(general: Mapping[str, Any], sets: list[dict[str, Any]]) -> str:
    """The same as a file. Raises UserError for values that no dataset file has."""
    try:
        return dataset_text(general, sets)
    except (TypeError, AttributeError) as error:
        raise UserError("kohya.bad_dataset", part=str(error)[:80]) from error


def _says_more(tables: list[dict[str, Any]]) -> bool:
    """Whether a subset has options that no setting says."""
    return any(key in DATASET_OPTIONS and key not in DATASET_KEYS for table in tables for key in table)


def _agree(*groups: list[dict[str, Any]]) -> bool:
    """Whether every option that a setting says is the same throughout."""
    return all(
        len({str(table.get(option)) for table in tables}) == 1
        for tables, options in zip(groups, (DATASET_SETTINGS, SUBSET_SETTINGS), strict=True)
        for option in options
    )


def _take_common(
    draft: Draft, option: str, setting: str, tables: list[dict[str, Any]], *, stays: bool
) -> None:
    """Take an option from the first table that has it; point out where the tables differ.

    `stays`: the file remains, and says it for each.
    """
    values = [table[option] for table in tables if option in table]
    if not values:
        return
    first = values[0]
    same = stays or (len(values) == len(tables) and all(value == first for value in values))
    text = ",".join(str(part) for part in first) if isinstance(first, list) else first
    raw = str(text) if setting == "max_resolution" else text
    own_first = option == "caption_extension"  # a dataset file's own go before the setting
    draft.entries = [
        entry for entry in draft.entries if entry.setting != setting or entry.kind != "defaulted"
    ]
    draft.take(setting, raw, key=option, was=first, note="" if same or own_first else "kohya.subsets_differ")


def _parents(subsets: list[SubsetTable]) -> dict[str, set[str]]:
    """Setting -> the one folder above all its subsets; {} where they do not lie so."""
    plain = {subset.parent() for subset in subsets if not subset.is_reg}
    reg = {subset.parent() for subset in subsets if subset.is_reg}
    fits = len(plain) == 1 and len(reg) <= 1 and "" not in plain | reg
    return {"train_data_dir": plain, "reg_data_dir": reg} if fits else {}


def _take_places(draft: Draft, parents: Mapping[str, set[str]], path: str) -> None:
    """The folders above, or the file itself."""
    draft.entries = [entry for entry in draft.entries if entry.setting != "dataset_config"]
    if not parents:
        why, note = ("kohya.dataset_stays", "") if path else ("", "kohya.dataset_pasted")
        draft.take("dataset_config", path, why=why, note=note)
        return
    draft.take("dataset_config", "", key="dataset_config", was=path, why="kohya.dataset_as_folder")
    for setting, folders in parents.items():
        for folder in folders:
            draft.take(setting, _from(path, folder), key="image_dir", why="kohya.dataset_as_folder")


def _from(path: str, folder: str) -> str:
    """A folder that is given relative to the dataset file."""
    absolute = PureWindowsPath(folder).is_absolute() or PurePosixPath(folder).is_absolute()
    return folder if absolute or not path or Path(folder).exists() else str(Path(path).parent / folder)


def _subset(table: Mapping[str, Any]) -> SubsetTable:
    repeats = table.get("num_repeats", 1)
    if not isinstance(repeats, int) or isinstance(repeats, bool):
        raise UserError("kohya.bad_dataset", part=f"num_repeats = {repeats!r}"[:80])
    folder = table.get("image_dir", table.get("metadata_file", ""))
    tokens = table.get("class_tokens", "")
    if not isinstance(folder, str) or not isinstance(tokens, str):
        raise UserError("kohya.bad_dataset", part="image_dir")
    return SubsetTable(folder, repeats, tokens, bool(table.get("is_reg", False)))


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError("kohya.bad_dataset", part=str(value)[:80])
    return dict(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UserError("kohya.bad_dataset", part=str(value)[:80])
    return value
