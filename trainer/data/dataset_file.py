"""What a dataset file says (sd-scripts' dataset_config, TOML or JSON), and the folders that it names.

[general] holds for every [[datasets]], and that for its [[datasets.subsets]]; a value further in goes before.
What becomes of the values is in trainer.data.datasets.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainer.data.buckets import resolution
from trainer.data.captions import extension
from trainer.data.folders import (
    MOST_REPEATS,
    FolderScan,
    Ignored,
    PictureFolder,
    merged,
    scan_folder,
    scan_places,
)
from trainer.data.musubi import FOLDER, OWN_KEYS, with_subset
from trainer.errors import UserError
from trainer.files.paths import can_exist, from_home
from trainer.files.reading import read_table
from trainer.messages import say
from trainer.settings import TRAINING, Captions, Folders

NOTHING = FolderScan()
ValueForm = Literal["switch", "int", "number", "text", "size", "any"]
FORMS: Mapping[ValueForm, str] = {
    "switch": "true, false", "int": "1, 2, 3 …", "number": "0.1", "text": '"…"', "size": "512, [512, 768]",
}  # fmt: skip
"""How a value of each kind is written."""
PLACE_KEYS = ("_dir", "_file", "_path", "_json")
"""Endings of the keys that name places, ours or sd-scripts'."""


class DatasetFileError(Exception):
    """A dataset file that cannot be used; the argument tells the part that is wrong."""


@dataclass(frozen=True)
class Option:
    """A key of a dataset file."""

    form: ValueForm
    setting: str = ""
    """The setting before which it goes."""
    least: float | None = None
    most: float | None = None
    per_dataset: bool = False
    """Of a whole [[datasets]]: in a subset it means nothing."""

    def limits(self) -> tuple[float | None, float | None]:
        """Smallest and largest value; a setting's own where there is one."""
        if not self.setting:
            return self.least, self.most
        setting = TRAINING[self.setting]
        return setting.bound("ge"), setting.bound("le")


# One row per option reads better here than one argument per line.
# fmt: off
DATASET_OPTIONS: Mapping[str, Option] = {
    "resolution": Option("size", "max_resolution", per_dataset=True),
    "batch_size": Option("int", "train_batch_size", per_dataset=True),
    "enable_bucket": Option("switch", "enable_bucket", per_dataset=True),
    "min_bucket_reso": Option("int", "min_bucket_reso", per_dataset=True),
    "max_bucket_reso": Option("int", "max_bucket_reso", per_dataset=True),
    "bucket_reso_steps": Option("int", "bucket_reso_steps", per_dataset=True),
    "bucket_no_upscale": Option("switch", "bucket_no_upscale", per_dataset=True),
    "prior_loss_weight": Option("number", "prior_loss_weight", per_dataset=True),
    "image_dir": Option("text"),
    "num_repeats": Option("int", most=MOST_REPEATS),
    "class_tokens": Option("text"),
    "is_reg": Option("switch"),
    "alpha_mask": Option("switch"),
    "conditioning_data_dir": Option("text"),
    "caption_extension": Option("text", "caption_extension"),
    "shuffle_caption": Option("switch", "shuffle_caption"),
    "keep_tokens": Option("int", "keep_tokens"),
    "keep_tokens_separator": Option("text"),
    "secondary_separator": Option("text"),
    "caption_separator": Option("text"),
    "enable_wildcard": Option("switch"),
    "caption_prefix": Option("text"),
    "caption_suffix": Option("text"),
    "caption_dropout_rate": Option("number", "caption_dropout_rate"),
    "caption_dropout_every_n_epochs": Option("int", "caption_dropout_every_n_epochs"),
    "caption_tag_dropout_rate": Option("number", least=0, most=1),
    "token_warmup_min": Option("int", least=0),
    "token_warmup_step": Option("number", least=0),
    "color_aug": Option("switch", "color_aug"),
    "flip_aug": Option("switch", "flip_aug"),
    "random_crop": Option("switch", "random_crop"),
}
# fmt: on
IDLE: Mapping[str, tuple[Any, ...]] = {
    "cache_info": (True, False),
    "custom_attributes": (),
    "network_multiplier": (1, 1.0),
    "validation_split": (0, 0.0),
    "validation_seed": (),
    "resize_interpolation": ("", "none"),
    "face_crop_aug_range": (),
    "metadata_file": (),
}  # fmt: skip
"""sd-scripts' options that are not followed, with the values that ask for nothing."""


@dataclass(frozen=True)
class Table:
    """A [[datasets]] or one of its subsets: its values, with those it has from further out."""

    name: str
    """As "datasets[0]" or "datasets[0].subsets[1]"."""
    values: Mapping[str, Any]
    subsets: tuple[Table, ...] = ()

    @property
    def says(self) -> frozenset[str]:
        """The settings before which its values go."""
        options = (DATASET_OPTIONS[key] for key in self.values if key in DATASET_OPTIONS)
        return frozenset(option.setting for option in options if option.setting)


@dataclass(frozen=True)
class Remark:
    """A value that is not followed, and why (a code of the texts)."""

    where: str
    """As "datasets[0].flip"."""
    code: str
    value: Any = None
    near: str = ""
    """What may have been meant."""


@dataclass(frozen=True)
class DatasetFile:
    """What a dataset file says."""

    path: Path
    datasets: tuple[Table, ...]
    remarks: tuple[Remark, ...]
    beside: Mapping[str, Any]
    """What else stands at the top: options of a training run."""


def read_dataset_file(path: Path) -> DatasetFile:
    """The file, every value of the right kind. Raises DatasetFileError."""
    try:
        content = read_table(path)
    except UserError as error:
        raise DatasetFileError(error.message.values.get("reason") or say(error.message).what) from error
    general = _checked("general", _table(content.get("general", {}), "general"))
    remarks = list(_remarks("general", general))
    datasets: list[Table] = []
    for number, raw_dataset in enumerate(_list(content.get("datasets", []), "datasets")):
        name = f"datasets[{number}]"
        dataset = with_subset(raw_dataset)
        if FOLDER in raw_dataset and FOLDER not in dataset:
            remarks.append(Remark(f"{name}.{FOLDER}", "preflight.dataset_musubi", raw_dataset[FOLDER]))
        own = _checked(name, {key: value for key, value in dataset.items() if key != "subsets"})
        remarks += _remarks(name, own)
        subsets: list[Table] = []
        for at, raw in enumerate(_list(dataset.get("subsets", []), f"{name}.subsets")):
            subset = _checked(f"{name}.subsets[{at}]", raw, is_subset=True)
            remarks += _remarks(f"{name}.subsets[{at}]", subset, is_subset=True)
            counting = {key: value for key, value in subset.items() if not _is_per_dataset(key)}
            subsets.append(Table(f"{name}.subsets[{at}]", {**general, **own, **counting}))
        datasets.append(Table(name, {**general, **own}, tuple(subsets)))
        remarks += _twice(datasets[-1])
        if not subsets:
            remarks.append(Remark(name, "preflight.dataset_no_subsets", sorted(own)))
    beside = {key: value for key, value in content.items() if key not in ("general", "datasets")}
    return DatasetFile(path, tuple(datasets), tuple(remarks), beside)


def _is_per_dataset(key: str) -> bool:
    return key in DATASET_OPTIONS and DATASET_OPTIONS[key].per_dataset


def _checked(name: str, values: Mapping[str, Any], *, is_subset: bool = False) -> dict[str, Any]:
    """A table without its blank values. Raises DatasetFileError for one of another kind."""
    present = {key: value for key, value in values.items() if value is not None}
    for key, value in present.items():
        if key in DATASET_OPTIONS and not (is_subset and DATASET_OPTIONS[key].per_dataset):
            _check(f"{name}.{key}", DATASET_OPTIONS[key], value)
    return present


def _check(where: str, option: Option, value: Any) -> None:
    """Raises DatasetFileError for a value of another kind or out of its limits."""
    if not _has_form(option.form, value):
        raise DatasetFileError(f"{where} = {value!r} ({FORMS[option.form]})"[:200])
    if where.endswith(PLACE_KEYS) and not can_exist(value):
        raise DatasetFileError(f"{where} = {value!r}"[:200])
    least, most = option.limits()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if (least is not None and value < least) or (most is not None and value > most):
        limits = f"{'' if least is None else f'{least:g}'} … {'' if most is None else f'{most:g}'}".strip()
        raise DatasetFileError(f"{where} = {value!r} ({limits})"[:200])


def _has_form(form: ValueForm, value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    whole = isinstance(value, int) and number
    if form == "size":
        return size_text(value) is not None
    return {"switch": isinstance(value, bool), "int": whole, "number": number, "any": True}.get(
        form, isinstance(value, str)
    )


def size_text(value: Any) -> str | None:
    """A `resolution` as "Max resolution" has it: 512, [512, 768] or their text; None for anything else."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(part, bool) or not isinstance(part, (int, str)) for part in parts):
        return None
    text = ",".join(str(part) for part in parts)
    try:
        resolution(text)
    except ValueError:
        return None
    return text


def _remarks(name: str, values: Mapping[str, Any], *, is_subset: bool = False) -> Iterator[Remark]:
    """What a table asks for in vain."""
    for key, value in values.items():
        if key == "subsets":
            continue
        if key in IDLE:
            if value not in IDLE[key]:
                yield Remark(f"{name}.{key}", f"preflight.dataset_{key}", value)
        elif key in OWN_KEYS:
            yield Remark(f"{name}.{key}", "preflight.dataset_musubi_idle", value)
        elif key not in DATASET_OPTIONS:
            near = difflib.get_close_matches(key, DATASET_OPTIONS, n=1)
            yield Remark(f"{name}.{key}", "preflight.dataset_unknown", value, near[0] if near else "")
        elif is_subset and _is_per_dataset(key):
            yield Remark(f"{name}.{key}", "preflight.dataset_not_in_subset", value)


def _twice(dataset: Table) -> Iterator[Remark]:
    """Folders that stand in a dataset a second time: as in sd-scripts the first counts."""
    seen: set[Any] = set()
    for subset in dataset.subsets:
        folder = subset.values.get("image_dir")
        if folder in seen:
            yield Remark(f"{subset.name}.image_dir", "preflight.dataset_twice", Path(str(folder)).name)
        seen.add(folder)


def read_places(path: Path, caption_extension: str = "") -> Iterator[PictureFolder]:
    """The folders of all subsets, in order. Raises DatasetFileError.

    A subset's own caption_extension goes before the setting.
    """
    for number, dataset in enumerate(read_dataset_file(path).datasets):
        seen: set[str] = set()
        for at, subset in enumerate(dataset.subsets):
            place = _place(subset, path.parent, caption_extension, (number, at))
            if subset.values["image_dir"] not in seen:
                yield place
            seen.add(subset.values["image_dir"])


def _place(subset: Table, base: Path, caption_extension: str, subset_of: tuple[int, int]) -> PictureFolder:
    values = subset.values
    if not values.get("image_dir"):
        raise DatasetFileError(f"{subset.name}: image_dir")
    return PictureFolder(
        path_beside(values["image_dir"], base),
        values.get("num_repeats", 1),
        values.get("class_tokens", ""),
        extension(values.get("caption_extension", caption_extension)),
        values.get("is_reg", False),
        subset_of,
        all_lines=values.get("enable_wildcard", False),
    )


def path_beside(folder: str, base: Path) -> Path:
    """A path of the file: absolute, from where the program runs, or else from the file's own folder."""
    path = from_home(folder)
    return path if path.is_absolute() or path.exists() else base / path


def is_listed(folders: Folders) -> bool:
    """Whether the dataset file names pictures of "Image folder": then both fields mean the same ones."""
    if not (folders.dataset_config and folders.train_data_dir):
        return False
    folder = Path(folders.train_data_dir)
    try:
        places = list(read_places(Path(folders.dataset_config)))
    except (DatasetFileError, OSError):
        return False
    return any(folder in (place.path, *place.path.parents) for place in places if not place.is_reg)


def named_places(path: Path) -> list[Path]:
    """Every place that the file names, as it is looked up here. Raises DatasetFileError."""
    file = read_dataset_file(path)
    tables = [table for dataset in file.datasets for table in (dataset, *dataset.subsets)]
    return [
        path_beside(text, path.parent)
        for table in tables
        for key, text in table.values.items()
        if key.endswith(PLACE_KEYS) and isinstance(text, str) and text
    ]


def scans(folders: Folders, captions: Captions) -> tuple[FolderScan, FolderScan]:
    """Training and regularisation pictures; empty where there are none."""
    return read_pictures(
        folders.train_data_dir, folders.reg_data_dir, folders.dataset_config, captions.caption_extension
    )


def read_pictures(
    train_data_dir: str, reg_data_dir: str, dataset_config: str, caption_extension: str
) -> tuple[FolderScan, FolderScan]:
    """Training pictures and regularisation pictures by the settings of these names.

    What is blank or not there gives an empty scan. A dataset file goes before the Image folder.
    """
    if dataset_config:
        try:
            places = list(read_places(Path(dataset_config), caption_extension))
        except DatasetFileError:
            return NOTHING, NOTHING
        plain, reg = ([place for place in places if place.is_reg == is_reg] for is_reg in (False, True))
        return _scan_places(plain), _scan_places(reg)
    return (
        _scan(train_data_dir, caption_extension),
        _scan(reg_data_dir, caption_extension, is_reg=True),
    )


def _scan_places(places: list[PictureFolder]) -> FolderScan:
    """Folders with `num_repeats` below 1 are left out, as in sd-scripts."""
    left_out = FolderScan(ignored=tuple(
        Ignored(str(place.path), "zero_repeats", 0) for place in places if place.repeats < 1
    ))  # fmt: skip
    return merged([scan_places(place for place in places if place.repeats >= 1), left_out])


def _scan(folder: str, caption_extension: str, *, is_reg: bool = False) -> FolderScan:
    try:
        return scan_folder(Path(folder), caption_extension, is_reg=is_reg) if folder else NOTHING
    except (OSError, ValueError):  # gone, or a name that no system can have
        return NOTHING


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DatasetFileError(name)
    return value


def _list(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        plain = re.sub(r"\[\d+\]", "", name)
        raise DatasetFileError(f"{name} ([[{plain}]])")
    return [_table(item, name) for item in value]
