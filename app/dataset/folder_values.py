"""Repeats and class words of a folder changed without renaming it: kept in a dataset file.

Without one, a new file lists the folders as their names say, with the change. One that is there is copied
with the change, so that what the person wrote stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.dataset.room import Room
from app.form.own_pictures import write_dataset_file
from trainer.data.dataset_file import path_beside
from trainer.data.folders import MOST_REPEATS
from trainer.errors import UserError
from trainer.files.reading import read_table
from trainer.kohya.toml_text import can_say, toml_text

LONGEST_WORDS = 300


def changed_dataset(
    room: Room, folder: str, repeats: Any, words: Any, dataset_config: str, configs: Path
) -> Path:
    """The dataset file that says it. Raises UserError for values or a file that cannot be used."""
    if isinstance(repeats, bool) or not isinstance(repeats, int) or not 1 <= repeats <= MOST_REPEATS:
        raise UserError("page.room_repeats", most=f"{MOST_REPEATS:,}")
    known = [one for one in room.folders if str(one.path) == folder]
    if not known:
        raise UserError("page.room_no_folder")
    text = str(words or "").strip()
    if len(text) > LONGEST_WORDS or not text.isprintable():
        raise UserError("page.room_words")
    content = _of_file(Path(dataset_config)) if dataset_config else _of_folders(room)
    for dataset in content["datasets"]:
        for subset in dataset.get("subsets", []):
            if Path(str(subset.get("image_dir", ""))) == Path(folder):
                subset.update({"num_repeats": repeats, "class_tokens": text})
    name = Path(dataset_config).stem.rstrip("0123456789").rstrip("-") if dataset_config else room.name
    return write_dataset_file(_toml(content), configs, name or "pictures")


def _of_folders(room: Room) -> dict[str, Any]:
    """The folders as their names say."""
    subsets = [
        {
            "image_dir": str(folder.path),
            "num_repeats": folder.repeats,
            "class_tokens": folder.words,
            **({"is_reg": True} if folder.is_reg else {}),
        }
        for folder in room.folders
        if folder.repeats
    ]
    return {"datasets": [{"subsets": subsets}]}


def _of_file(path: Path) -> dict[str, Any]:
    """A dataset file's content; its places absolute, since the copy lies elsewhere."""
    content = read_table(path)
    for dataset in content.get("datasets", []):
        for subset in dataset.get("subsets", []):
            for key, value in subset.items():
                if key.endswith("_dir") and isinstance(value, str) and value:
                    subset[key] = str(path_beside(value, path.parent))
    return {"datasets": [], **content}


def _toml(content: Mapping[str, Any]) -> str:
    """TOML of a dataset file. Raises UserError for what cannot be said in it."""
    rest = {key: value for key, value in content.items() if key not in ("general", "datasets")}
    parts = [_table("", rest), _table("[general]", content.get("general") or {})]
    for dataset in content["datasets"]:
        own = {key: value for key, value in dataset.items() if key != "subsets"}
        parts.append(f"[[datasets]]\n{_table('', own)}")
        parts += [_table("[[datasets.subsets]]", subset) for subset in dataset.get("subsets", [])]
    return "\n".join(part for part in parts if part)


def _table(head: str, values: Mapping[str, Any]) -> str:
    said = {key: value for key, value in values.items() if value is not None}
    for key, value in said.items():
        if not can_say(value):
            raise UserError("page.room_file", key=key)
    text = toml_text(said)
    return f"{head}\n{text}" if head and text else text
