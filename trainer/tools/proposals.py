"""Captions that a tool proposes: kept in its job's folder, one line each, until a person has looked at them.

Nothing is written beside the pictures before that; a job that was interrupted goes on behind its last line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from trainer.data.captions import decode_caption, extension, first_line
from trainer.data.folders import NEVER_WRITTEN
from trainer.data.pixels import load_pixels
from trainer.errors import UserError
from trainer.files.paths import FORBIDDEN, is_text, is_writable, visible
from trainer.files.whole_file import naming, write_whole
from trainer.tools.picture_walk import pictures_below
from trainer.tools.tool import Work

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

PROPOSALS_FILE = "proposals.jsonl"
Existing = Literal["keep", "append", "overwrite"]
BROKEN = (OSError, SyntaxError, ValueError)
"""What comes of pictures that nothing can be made of."""


@dataclass(frozen=True)
class Proposal:
    """A caption for one picture. `before` is what stands in its caption file now ("" where there is none)."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class Selection:
    """Which pictures get captions, and what becomes of those that have one."""

    folder: Path
    ending: str = ".txt"
    existing: Existing = "keep"
    first: str = ""
    """The trigger word: it stands before everything else."""


def is_caption_ending(text: str) -> bool:
    """Whether captions may be written into files of such an ending: pictures, weights and the like never."""
    ending = extension(text)
    named = len(ending) > 1 and not FORBIDDEN.search(text) and visible(ending) == ending
    return (
        named and not ending.endswith((".", " ")) and Path(f"a{ending}").suffix.lower() not in NEVER_WRITTEN
    )


def caption_file(picture: Path, ending: str) -> Path:
    """Where a picture's caption stands."""
    return picture.with_suffix(extension(ending))


def closed_folder(pictures: Iterable[Path]) -> Path | None:
    """The first folder of these pictures that no caption can be written into."""
    folders = dict.fromkeys(picture.parent for picture in pictures)
    return next((folder for folder in folders if not is_writable(folder)), None)


def caption_there(picture: Path, ending: str) -> str:
    """What stands in a picture's caption file: its first line that is not blank."""
    try:
        file = caption_file(picture, ending)
        return first_line(decode_caption(file.read_bytes(), file)[0])
    except FileNotFoundError:
        return ""


def combined(before: str, parts: Sequence[str], wish: Selection) -> str:
    """A caption of what was found in a picture, behind the trigger word and what is kept; nothing twice."""
    pieces = dict.fromkeys(_pieces(wish.first))
    pieces |= dict.fromkeys(_pieces(before) if wish.existing == "append" else ())
    new = [one_line(part) for part in dict.fromkeys(parts) if not pieces.keys() >= set(_pieces(part))]
    return ", ".join([*pieces, *new])


def _pieces(caption: str) -> list[str]:
    """What stands between its commas."""
    return [piece for part in caption.split(",") if (piece := one_line(part))]


def one_line(text: str) -> str:
    """A caption stands on one line."""
    return " ".join(text.split())


def propose(wish: Selection, work: Work, describe: Callable[[Picture], Sequence[str]]) -> tuple[int, int]:
    """Ask `describe` about each picture and keep what comes of it; returns (proposed, left out).

    Raises StopRequested between two pictures; what is proposed until then stays.
    """
    path = work.folder / PROPOSALS_FILE
    known = {proposal.path for proposal in read_proposals(work.folder)} if work.resume else set()
    if not work.resume:
        path.unlink(missing_ok=True)
    below = pictures_below(wish.folder)
    if below.kinds:
        work.tell("tools.prepare_kinds", "warning", path=str(wish.folder), kinds=below.kinds)
    left_out, caption_files = 0, set[Path]()
    with path.open("ab") as lines:
        if lines.tell():
            lines.write(b"\n")  # a crash may have cut off the last line
        for number, picture in enumerate(below.paths):
            work.report(number, len(below.paths))
            proposal = "tools.caption_shared"
            if (caption := caption_file(picture, wish.ending)) not in caption_files:
                caption_files.add(caption)
                if str(picture) in known:
                    continue
                proposal = _proposed(picture, wish, describe)
            if isinstance(proposal, Proposal):
                with naming(path):
                    lines.write(json.dumps(asdict(proposal), ensure_ascii=False).encode() + b"\n")
                    lines.flush()
                    os.fsync(lines.fileno())
                continue
            left_out += 1
            if proposal:
                work.tell(proposal, "warning", path=str(picture))
    work.report(len(below.paths), len(below.paths))
    return len(read_proposals(work.folder)), left_out


def _proposed(picture: Path, wish: Selection, describe: Callable[[Picture], Sequence[str]]) -> Proposal | str:
    """A proposal for a picture, or the code of what stands in its way; "" where its caption is kept."""
    if not is_text(picture):
        return "tools.name_no_text"
    try:
        before = caption_there(picture, wish.ending)
    except OSError:
        return "tools.caption_closed"
    if before and wish.existing == "keep":
        return ""
    parts = _described(picture, describe)
    if parts is None:
        return "tools.prepare_unreadable"
    return Proposal(str(picture), before, combined(before, parts, wish))


def _described(path: Path, describe: Callable[[Picture], Sequence[str]]) -> Sequence[str] | None:
    """What `describe` says of a picture as training sees it; None for one that is damaged."""
    try:
        seen = Image.fromarray(load_pixels(path))
    except UserError:
        return None
    try:
        return describe(seen)
    except BROKEN:
        return None


def read_proposals(folder: Path) -> list[Proposal]:
    """What a job has proposed so far; lines that were cut off by a crash count as none."""
    by_path = {}
    try:
        rows = (folder / PROPOSALS_FILE).read_bytes().split(b"\n")
    except OSError:
        return []
    for row in rows:
        try:
            data = json.loads(row)
            proposal = Proposal(str(data["path"]), str(data["before"]), str(data["after"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        by_path[proposal.path] = proposal
    return list(by_path.values())


def write_proposals(proposals: Iterable[Proposal], ending: str) -> int:
    """Write captions beside their pictures, each whole; returns how many.

    Nothing is written where one of the files has changed since, none is a caption file, or one of the folders
    may not be written (UserError). Lines behind the first stay.
    """
    if not is_caption_ending(ending):
        raise UserError("tools.no_caption_ending", "extension", ending=extension(ending)[:40])
    changed = [
        proposal
        for proposal in proposals
        if proposal.after != proposal.before and Path(proposal.path).is_file()
    ]
    if place := closed_folder(Path(proposal.path) for proposal in changed):
        raise UserError("tools.captions_closed", "folder", path=str(place)[:300])
    for proposal in changed:
        if caption_there(Path(proposal.path), ending) != proposal.before:
            raise UserError("tools.caption_changed", name=caption_file(Path(proposal.path), ending).name)
    for proposal in changed:
        path = caption_file(Path(proposal.path), ending)
        write_whole(path, _content(path, proposal.after).encode())
    return len(changed)


def _content(path: Path, caption: str) -> str:
    """The caption in place of the file's first line."""
    try:
        lines = decode_caption(path.read_bytes(), path)[0].splitlines()
    except FileNotFoundError:
        lines = []
    lines_behind = lines[
        next((number for number, line in enumerate(lines) if line.strip()), len(lines)) + 1 :
    ]
    return "\n".join([caption, *lines_behind]) + "\n"
