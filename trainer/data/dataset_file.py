"""The folders that a dataset file names (sd-scripts' dataset_config, a TOML file).

Everything in the file that is not about folders (sizes, batch size, captions) is turned into settings when
it is imported, by trainer.kohya.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.data.captions import extension
from trainer.data.folders import MOST_REPEATS, FolderScan, Place, scan_folder, scan_places
from trainer.errors import UserError
from trainer.files.paths import from_home
from trainer.files.reading import read_toml
from trainer.messages import say
from trainer.settings import Captions, Folders

NOTHING = FolderScan()
PLACE_KEYS = ("_dir", "_file", "_path", "_json")
"""Endings of the keys that name places, ours or sd-scripts'."""


class DatasetFileError(Exception):
    """A dataset file that cannot be used; the argument tells the part that is wrong."""


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
        return (
            scan_places(place for place in places if not place.is_reg),
            scan_places(place for place in places if place.is_reg),
        )
    return (
        _scan(train_data_dir, caption_extension),
        _scan(reg_data_dir, caption_extension, is_reg=True),
    )


def _scan(folder: str, caption_extension: str, *, is_reg: bool = False) -> FolderScan:
    try:
        return scan_folder(Path(folder), caption_extension, is_reg=is_reg) if folder else NOTHING
    except (OSError, ValueError):  # gone, or a name that no system can have
        return NOTHING


def read_places(path: Path, caption_extension: str = "") -> Iterator[Place]:
    """The folders of all subsets, in order. Raises DatasetFileError.

    A subset's own caption_extension goes before the setting.
    """
    for name, values in _subsets(path):
        yield _place(values, name, path.parent, caption_extension)


def mask_folders(path: Path) -> dict[Path, Path]:
    """Folder of pictures -> folder of their masks (`conditioning_data_dir`). {} for a file that is none."""
    try:
        tables = [values for _, values in _subsets(path)]
    except DatasetFileError:
        return {}
    found = [(table.get("image_dir"), table.get("conditioning_data_dir")) for table in tables]
    return {
        _path(images, path.parent): _path(masks, path.parent)
        for images, masks in found
        if isinstance(images, str) and isinstance(masks, str) and images and masks
    }


def named_places(path: Path) -> list[Path]:
    """Every place that the file names, as it is looked up here. Raises DatasetFileError."""
    return [
        _path(text, path.parent)
        for _, values in _subsets(path)
        for key, text in values.items()
        if key.endswith(PLACE_KEYS) and isinstance(text, str) and text
    ]


def _subsets(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and values of each subset, with those it has from its dataset and from [general].

    Raises DatasetFileError.
    """
    try:
        content = read_toml(path)
    except UserError as error:
        raise DatasetFileError(error.message.values.get("reason") or say(error.message).what) from error
    general = _table(content.get("general", {}), "general")
    for number, dataset in enumerate(_list(content.get("datasets", []), "datasets")):
        for at, subset in enumerate(_list(dataset.get("subsets", []), f"datasets[{number}].subsets")):
            yield f"datasets[{number}].subsets[{at}]", {**general, **dataset, **subset}


def _path(folder: str, base: Path) -> Path:
    path = from_home(folder)
    return path if path.is_absolute() or path.exists() else base / path


def _place(values: Mapping[str, Any], name: str, base: Path, caption_extension: str) -> Place:
    folder, repeats = values.get("image_dir"), values.get("num_repeats", 1)
    tokens, ending = values.get("class_tokens", ""), values.get("caption_extension", caption_extension)
    if not isinstance(folder, str) or not folder:
        raise DatasetFileError(f"{name}: image_dir")
    if not isinstance(repeats, int) or isinstance(repeats, bool) or not 1 <= repeats <= MOST_REPEATS:
        raise DatasetFileError(f"{name}: num_repeats")
    if not isinstance(tokens, str) or not isinstance(ending, str):
        raise DatasetFileError(f"{name}: class_tokens, caption_extension")
    return Place(_path(folder, base), repeats, tokens, extension(ending), bool(values.get("is_reg", False)))


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DatasetFileError(name)
    return value


def _list(value: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise DatasetFileError(name)
    return [_table(item, name) for item in value]
