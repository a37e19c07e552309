"""Captions written from the room: whole or not at all, with a copy of what stood there before.

Nothing else of the room changes a caption file. A write first keeps every file's old content in a folder of
its own below <workspace>/captions, then writes; where one file fails, those before it get theirs back.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.dataset.room import Picture, Room
from trainer.data.captions import LONGEST_FILE, decode_caption, first_line, lines_of
from trainer.data.folders import NEVER_WRITTEN
from trainer.errors import UserError
from trainer.files.roots import Roots
from trainer.files.whole_file import write_whole

LONGEST_CAPTION = 20_000
"""Letters of a caption."""
MANIFEST = "what.json"
MOST_COPIES = 200
"""Copies that are kept; the oldest go first."""


@dataclass(frozen=True)
class CaptionChange:
    """A caption that is to stand in a file."""

    path: Path
    """The caption file's real place."""
    content: bytes | None
    """None: there is to be no file."""
    before: bytes | None
    """What stands there now; None: nothing."""


def others(room: Room, ending: str, roots: Roots) -> dict[str, str]:
    """Captions of pictures without one, from files of another ending beside them, by the picture's path."""
    found = {}
    for picture in room.pictures:
        if picture.caption or ending not in picture.others or not picture.caption_path:
            continue
        for name in (picture.caption_path.stem + ending, picture.caption_path.stem + ending.upper()):
            place = roots.allowed(str(picture.path.with_name(name).absolute()))
            data = _content(place) if place else None
            if data is not None:
                found[str(picture.path)] = first_line(decode_caption(data, place)[0])
    return found


def planned(
    pictures: Mapping[str, Picture], wishes: Iterable[Mapping[str, Any]], roots: Roots
) -> list[CaptionChange]:
    """What wishes of the page mean: [{"path": of a picture, "before": its caption as shown, "after"}].

    Raises UserError where a picture is not of the room, its caption changed meanwhile, or may not be written.
    """
    changes: dict[Path, CaptionChange] = {}
    for wish in wishes:
        picture = pictures.get(str(wish.get("path")))
        if picture is None or picture.caption_path is None:
            raise UserError("page.room_no_picture", name=Path(str(wish.get("path"))).name[:120])
        change = _change(picture, str(wish.get("before") or ""), str(wish.get("after") or ""), roots)
        other = changes.setdefault(change.path, change)
        if other.content != change.content:
            raise UserError("page.room_shared", name=change.path.name)
    return [change for change in changes.values() if change.content != change.before]


def _change(picture: Picture, before: str, after: str, roots: Roots) -> CaptionChange:
    assert picture.caption_path  # noqa: S101  # asked by the caller
    place = roots.place(picture.caption_path.absolute())
    name = picture.caption_path.name
    if place is None or not picture.stamp:
        raise UserError("page.outside", path=str(picture.caption_path)[:300], folders=roots.names())
    if picture.caption_path.suffix.lower() in NEVER_WRITTEN or not picture.caption_path.suffix:
        raise UserError("page.room_ending", name=name)
    if len(after) > LONGEST_CAPTION:
        raise UserError("page.room_long", name=picture.path.name, most=f"{LONGEST_CAPTION:,}")
    data = _content(place)
    text = decode_caption(data, place)[0] if data is not None else ""
    there = lines_of(text) if picture.all_lines else first_line(text)
    if there not in (before, after):  # another tab may have written the same
        raise UserError("page.room_changed", name=name)
    return CaptionChange(place, _with_caption(data, text, there, after, whole=picture.all_lines), data)


def _content(path: Path) -> bytes | None:
    """A caption file's bytes; None where there is none. Raises UserError for what is no caption file."""
    try:
        if not path.exists():
            return None
        if not path.is_file() or path.stat().st_size > LONGEST_FILE:
            raise UserError("page.room_no_file", name=path.name)
        return path.read_bytes()
    except OSError as error:
        raise UserError("page.room_no_file", name=path.name) from error


def _with_caption(data: bytes | None, text: str, there: str, after: str, *, whole: bool) -> bytes | None:
    """The file with another caption, in UTF-8. Lines that are not learned stay; so does an unchanged file."""
    lines = [line.strip() for line in after.replace("\r", "\n").split("\n") if line.strip()]
    wanted = "\n".join(lines) if whole else " ".join(lines)
    if wanted == there:
        return data
    if whole or not text.strip():
        return f"{wanted}\n".encode() if wanted or data is not None else None
    rows = text.splitlines(keepends=True)
    at = next(number for number, row in enumerate(rows) if row.strip())
    ending = rows[at][len(rows[at].rstrip("\r\n")) :]
    rows[at] = f"{wanted}{ending}" if wanted else ""
    return "".join(rows).encode()


def write_captions(changes: Sequence[CaptionChange], kept: Path, about: str = "") -> dict[str, Any]:
    """Do it, all or nothing: {"count", "copy": name of the copy that `restore` takes}.

    `kept`: where copies are kept. `about`: the dataset's name, for the list of copies. Raises OSError.
    """
    if not changes:
        return {"count": 0, "copy": ""}
    folder = _keep(changes, kept, about)
    done: list[CaptionChange] = []
    try:
        for change in changes:
            _put(change.path, change.content)
            done.append(change)
    except OSError:
        failed = [change for change in reversed(done) if not _taken_back(change)]
        if not failed:
            _forget(folder)
        raise
    _manifest(folder, changes, about, finished=True)
    return {"count": len(changes), "copy": folder.name}


def _put(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        write_whole(path, content)


def _taken_back(change: CaptionChange) -> bool:
    try:
        _put(change.path, change.before)
    except OSError:
        return False
    return True


def _keep(changes: Sequence[CaptionChange], kept: Path, about: str) -> Path:
    """A copy of what stands in the files."""
    kept.mkdir(parents=True, exist_ok=True)
    folder = _fresh_folder(kept)
    for number, change in enumerate(changes):
        if change.before is not None:
            write_whole(folder / f"{number}.txt", change.before)
    _manifest(folder, changes, about, finished=False)
    for old in sorted(one for one in kept.iterdir() if one.is_dir())[:-MOST_COPIES]:
        _forget(old)
    return folder


def _fresh_folder(kept: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(10_000):
        folder = kept / f"{stamp}-{number:04}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(stamp)


def _manifest(folder: Path, changes: Sequence[CaptionChange], about: str, *, finished: bool) -> None:
    files = [
        {
            "path": str(change.path),
            "before": f"{number}.txt" if change.before is not None else None,
            "after": change.content.decode("utf-8", "replace") if change.content is not None else None,
        }
        for number, change in enumerate(changes)
    ]
    manifest = {"time": time.time(), "about": about, "finished": finished, "files": files}
    write_whole(folder / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1).encode())


def _forget(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
    folder.rmdir()


def kept_copies(kept: Path, within: Callable[[Path], bool]) -> list[dict[str, Any]]:
    """What can be brought back, newest first: [{"copy", "time", "about", "count", "finished"}].

    `within` says which caption files are of the dataset that is looked at.
    """
    found = []
    for folder in sorted(kept.iterdir(), reverse=True) if kept.is_dir() else ():
        manifest = _read_manifest(folder)
        files = [file for file in manifest.get("files", ()) if within(Path(file["path"]))]
        if files:
            found.append({
                "copy": folder.name, "time": manifest["time"], "about": manifest.get("about", ""),
                "count": len(files), "finished": bool(manifest.get("finished")),
            })  # fmt: skip
    return found


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("time"), (int, float)) else {}


def changes_of_copy(copy: str, kept: Path, roots: Roots) -> list[CaptionChange]:
    """What bringing a copy back would change. Raises UserError where there is none."""
    folder = kept / os.path.basename(copy)  # noqa: PTH119  # a name of ours, never a path
    manifest = _read_manifest(folder) if copy else {}
    if not manifest:
        raise UserError("page.room_no_copy")
    changes = []
    for file in manifest["files"]:
        place = roots.place(Path(file["path"]))
        if place is None:
            raise UserError("page.outside", path=str(file["path"])[:300], folders=roots.names())
        old = (folder / file["before"]).read_bytes() if file["before"] else None
        now = _content(place)
        if old is None and now is not None and file["after"] != decode_caption(now)[0]:
            continue  # made by us, then written by another: theirs to keep
        changes.append(CaptionChange(place, old, now))
    return [change for change in changes if change.content != change.before]
