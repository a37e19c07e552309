"""What lies in a folder that the page may use: for choosing a file or folder by hand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from app.paths import OFFERED_ENDINGS
from app.texts import word
from trainer.data.picture_files import is_picture
from trainer.families.detect import read_model
from trainer.families.facts import ModelFacts, ModelUnreadableError
from trainer.families.folder import folder_mark
from trainer.families.table import FAMILIES
from trainer.files.paths import clean_path
from trainer.files.roots import Roots, hidden_name, is_link
from trainer.messages import Language, comma

MOST_ENTRIES = 2000
"""Entries that are shown of one folder."""
ENTRIES_LOOKED_AT = 20_000
"""Entries of one folder that are looked at."""
COUNTED = 5000
"""Entries of a folder that are looked at to count its pictures."""
MODEL_FILES = (".safetensors", ".ckpt", ".pt")
"""Files of which it is told what they are."""


def folder_listing(text: str, kind: str, roots: Roots, *, first: bool = False) -> dict[str, Any]:
    """A folder for the page: {"path", "parent", "places", "start", "entries", "more", "asked"}.

    Of a file it is the folder that it lies in; of a place that is not there or not to be seen the nearest
    folder that is, else the list of places alone ("path": "") with the one to begin with. `asked`: whether
    it is what was asked for. `first`: of a model's folder, too, the one it lies in.
    """
    wanted = clean_path(text)[:4096]
    folder = _nearest(wanted, roots)
    if first and kind == "model" and folder and folder_mark(folder):
        folder = roots.allowed(str(folder.parent)) or folder
    found: dict[str, Any] = {
        "path": str(folder) if folder else "",
        "parent": _parent(folder, roots),
        "places": [str(place) for place in _places(roots)],
        "start": str(_start(roots)),
        "entries": [],
        "more": 0,
        "asked": not wanted or roots.allowed(wanted) is not None,
    }
    if folder:
        entries = list(_entries(folder, kind, roots))
        entries.sort(key=lambda entry: (not entry["folder"], entry["name"].casefold()))
        found |= {"entries": entries[:MOST_ENTRIES], "more": max(0, len(entries) - MOST_ENTRIES)}
    return found


def _places(roots: Roots) -> list[Path]:
    """The allowed folders, those that lie in none of the others first."""
    return sorted(roots.folders, key=lambda place: (len(place.parts), str(place)))


def _start(roots: Roots) -> Path:
    """Where a choice begins: one's home folder, where it may be looked at."""
    return roots.allowed(str(Path.home())) or _places(roots)[0]


def _nearest(text: str, roots: Roots) -> Path | None:
    if not text:
        return None
    path = Path(text)
    for place in (path, *path.parents):
        real = roots.allowed(str(place))
        if real and real.is_dir():
            return real
    return None


def _parent(folder: Path | None, roots: Roots) -> str:
    return str(folder.parent) if folder and roots.allowed(str(folder.parent)) else ""


def _entries(folder: Path, kind: str, roots: Roots) -> Iterator[dict[str, Any]]:
    """Folders, and the files of a kind; without what is hidden or leads out."""
    endings = OFFERED_ENDINGS.get(kind, ())
    for entry in _scan(folder, ENTRIES_LOOKED_AT):
        if hidden_name(entry.name) or (is_link(entry) and roots.allowed(entry.path) is None):
            continue
        try:
            is_folder, stat = entry.is_dir(), entry.stat()
        except OSError:  # a link to nothing, or gone
            continue
        if not is_folder and (kind == "folder" or not entry.name.lower().endswith(endings or ("",))):
            continue
        yield {
            "name": entry.name,
            "folder": is_folder,
            "size": 0 if is_folder else stat.st_size,
            "time": stat.st_mtime,
        }


def _scan(folder: Path | str, most: int) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(islice(entries, most))
    except OSError:
        return []


def told_of_entries(text: str, names: Iterable[str], roots: Roots, language: Language) -> dict[str, Any]:
    """What entries of a folder are: {"told": {name: the family of a model, or how many pictures},
    "models": the names of folders that are a model}.
    """
    folder = roots.allowed(text)
    found: dict[str, str] = {}
    models: list[str] = []
    for name in names:
        path = roots.allowed(str(folder / name)) if folder and name == Path(name).name else None
        words = _words(path, language) if path else ""
        if path and words:
            found[name] = words
            if path.is_dir() and folder_mark(path):
                models.append(name)
    return {"told": found, "models": models}


def _words(path: Path, language: Language) -> str:
    try:
        if path.is_dir() and not folder_mark(path):
            return _folder_words(path, language)
        if path.is_dir() or path.suffix.lower() in MODEL_FILES:
            return model_words(read_model(path), language)
    except ModelUnreadableError:
        return word(language, "browse.unreadable")
    except OSError:
        return ""
    return ""


def _folder_words(path: Path, language: Language) -> str:
    """Pictures in a folder, or in the folders in it."""
    entries = _scan(path, COUNTED)
    own = sum(is_picture(entry.name) for entry in entries)
    if own:
        return word(language, "browse.pictures", count=f"{own:,}")
    inner = [
        count
        for entry in entries[:200]
        if not hidden_name(entry.name) and not is_link(entry) and entry.is_dir()
        and (count := sum(is_picture(one.name) for one in _scan(entry.path, COUNTED)))
    ]  # fmt: skip
    return word(language, "browse.inner", count=len(inner), pictures=f"{sum(inner):,}") if inner else ""


def model_words(facts: ModelFacts, language: Language) -> str:
    """What a model is, short: "SDXL", "LoRA, SD1", "VAE"."""
    title = FAMILIES[facts.family].title if facts.family else facts.title
    if facts.kind == "base":
        mark = word(language, "browse.v_prediction") if facts.v_prediction else ""
        return comma(language).join(part for part in (title, mark) if part)
    kind = "" if facts.kind == "other_model" and title else word(language, f"browse.kind.{facts.kind}")
    return comma(language).join(part for part in (kind, title) if part)
