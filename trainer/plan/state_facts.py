"""What a training state notes about its run, and what is different when a job goes on. Loads no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

from trainer.data.datasets import Dataset, datasets_of, mask_files
from trainer.data.folders import TrainImage
from trainer.files.state_folder import StateAbout
from trainer.settings import TRAINING, Settings

PACKAGES = ("torch", "diffusers", "transformers", "peft")
FILE_SETTINGS = ("pretrained_model_name_or_path", "vae", "dataset_config")
"""Settings whose files decide what is learned."""
MOST_PICTURES = 100_000
"""Pictures that are noted one by one; of larger sets only their number is."""
MOST_MODEL_FILES = 1000
"""Files of a model's folder that are looked at."""

Change = Mapping[str, Any]
"""A message as plain data: {"code", "values"}."""


def facts_for_state(
    settings: Settings, images: Sequence[TrainImage], datasets: Sequence[Dataset] = ()
) -> dict[str, Any]:
    """Versions, and what marks pictures, captions, masks and files: plain data for state.json.

    `datasets`: those of the images; the settings' own where they are not given.
    """
    by_path = {str(image.path): image for image in images}
    few = len(by_path) <= MOST_PICTURES
    masks = zip(images, mask_files(datasets or datasets_of(settings), images), strict=True) if few else ()
    return {
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "picture_count": len(by_path),
        "pictures": {_short(path): _marks(image) for path, image in by_path.items()} if few else {},
        "masks": {_short(str(image.path)): _stamp(mask) for image, mask in masks if mask},
        "files": {key: mark for key in FILE_SETTINGS if (mark := file_mark(str(settings.get(key))))},
    }


def changes(
    about: StateAbout, settings: Settings, images: Sequence[TrainImage], datasets: Sequence[Dataset] = ()
) -> list[Change]:
    """What is not as it was when the state was written, each as a message; [] where all is."""
    then, now = about.facts, facts_for_state(settings, images, datasets)
    files = [*_pictures(then, now), *_masks(then, now), *_files(then, now)]
    return [*_settings(about, settings), *files]


def _settings(about: StateAbout, settings: Settings) -> Iterator[Change]:
    for key, value in settings.flat().items():
        old = about.settings.get(key, value)
        old = tuple(old) if isinstance(old, list) else old  # JSON knows no pairs
        if old != value:
            values = {
                "label": TRAINING[key].spec.label,
                "old": text_of_value(old),
                "new": text_of_value(value),
            }
            yield {"code": "changed.setting", "values": values}


def _pictures(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    count, old, new = then.get("picture_count"), then.get("pictures"), now["pictures"]
    if isinstance(old, dict) and old and new:
        both = [(str(old[name]), new[name]) for name in old.keys() & new.keys()]
        counts = {
            "changed.pictures_new": len(new.keys() - old.keys()),
            "changed.pictures_gone": len(old.keys() - new.keys()),
            "changed.pictures_other": sum(was[:16] != mark[:16] for was, mark in both),
            "changed.captions_other": sum(was[16:] != mark[16:] for was, mark in both),
        }
        yield from ({"code": code, "values": {"count": found}} for code, found in counts.items() if found)
    elif isinstance(count, int) and count != now["picture_count"]:
        values = {"old": count, "new": now["picture_count"]}
        yield {"code": "changed.picture_count", "values": values}


def _masks(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """Masks in files of their own, of pictures that were there then; those within pictures are pictures."""
    pictures, old, new = then.get("pictures"), then.get("masks"), now["masks"]
    if isinstance(pictures, dict) and isinstance(old, dict):
        there = pictures.keys() & now["pictures"].keys()
        if count := sum(old.get(name) != new.get(name) for name in there):
            yield {"code": "changed.masks_other", "values": {"count": count}}


def _files(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    old, versions = then.get("files"), then.get("versions")
    old, versions = (part if isinstance(part, dict) else {} for part in (old, versions))
    for key, mark in now["files"].items():
        if old.get(key, mark) != mark:
            yield {"code": "changed.file", "values": {"label": TRAINING[key].spec.label}}
    for name, found in now["versions"].items():
        if (was := versions.get(name, found)) != found:
            yield {"code": "changed.version", "values": {"name": name, "old": was, "new": found}}


def text_of_value(value: Any) -> str:
    """A setting's value in a sentence of either language."""
    if isinstance(value, bool):
        return "ON" if value else "OFF"
    return f"{value:g}" if isinstance(value, float) else str(value or "–")[:80]


def file_mark(path: str) -> list[int]:
    """Bytes and time of a file, or of all files of a folder; [] where there is none."""
    place = Path(path) if path else None
    try:
        if place is None or not place.exists():
            return []
        files = islice(place.rglob("*"), MOST_MODEL_FILES) if place.is_dir() else [place]
        stats = [file.stat() for file in files if file.is_file()]
    except (OSError, ValueError):
        return []
    return [sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)]


def _marks(image: TrainImage) -> str:
    """16 letters for the picture's file and as many for its caption."""
    return _stamp(image.path) + _short(image.caption)


def _stamp(path: Path) -> str:
    """16 letters that change with a file."""
    try:
        stat = path.stat()
    except OSError:
        return _short("")
    return _short(f"{stat.st_size} {stat.st_mtime_ns}")


def _short(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
