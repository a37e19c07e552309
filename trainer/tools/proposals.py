"""Captions that a tool proposes: kept in its job's folder, one line each, until a person has looked at them.

Nothing is written beside the pictures before that; a job that was interrupted goes on behind its last line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from trainer.data.captions import decode_caption, extension, first_line
from trainer.data.folders import listing
from trainer.data.picture_files import is_picture
from trainer.data.pixels import load_pixels
from trainer.errors import UserError
from trainer.files.whole_file import write_whole
from trainer.tools.tool import Work

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

PROPOSALS_FILE = "proposals.jsonl"
DEEPEST = 4
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


def pictures(folder: Path, depth: int = DEEPEST) -> Iterator[Path]:
    """Pictures of a folder and of those in it, by name. Raises OSError."""
    for entry in listing(folder):
        if entry.is_dir() and depth and not entry.name.startswith("."):
            yield from pictures(Path(entry.path), depth - 1)
        elif is_picture(entry.name):
            yield Path(entry.path)


def caption_file(picture: Path, ending: str) -> Path:
    """Where a picture's caption stands."""
    return picture.with_suffix(extension(ending))


def caption_there(picture: Path, ending: str) -> str:
    """What stands in a picture's caption file: its first line that is not blank."""
    try:
        return first_line(decode_caption(caption_file(picture, ending).read_bytes())[0])
    except FileNotFoundError:
        return ""


def combined(before: str, parts: Sequence[str], wish: Selection) -> str:
    """A caption of what was found in a picture, behind the trigger word and what is kept."""
    kept = [part.strip() for part in before.split(",")] if wish.existing == "append" else []
    named = [wish.first, *kept, *parts]
    return ", ".join(dict.fromkeys(part.strip() for part in named if part.strip()))


def propose(wish: Selection, work: Work, describe: Callable[[Picture], Sequence[str]]) -> tuple[int, int]:
    """Ask `describe` about each picture and keep what comes of it; returns (proposed, left out).

    Raises StopRequested between two pictures; what is proposed until then stays.
    """
    path = work.folder / PROPOSALS_FILE
    known = {proposal.path for proposal in read_proposals(work.folder)} if work.resume else set()
    if not work.resume:
        path.unlink(missing_ok=True)
    found = list(pictures(wish.folder))
    left_out = 0
    with path.open("ab") as lines:
        if lines.tell():
            lines.write(b"\n")  # a crash may have cut off the last line
        for number, picture in enumerate(found):
            work.report(number, len(found))
            if str(picture) in known:
                continue
            before = caption_there(picture, wish.ending)
            if before and wish.existing == "keep":
                left_out += 1
                continue
            parts = _described(picture, describe)
            if parts is None:
                work.tell("tools.prepare_unreadable", "warning", path=str(picture))
                left_out += 1
                continue
            proposal = Proposal(str(picture), before, combined(before, parts, wish))
            lines.write(json.dumps(asdict(proposal), ensure_ascii=False).encode() + b"\n")
            lines.flush()
            os.fsync(lines.fileno())
    work.report(len(found), len(found))
    return len(read_proposals(work.folder)), left_out


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
    found = {}
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
        found[proposal.path] = proposal
    return list(found.values())


def write_proposals(proposals: Iterable[Proposal], ending: str) -> int:
    """Write captions beside their pictures, each whole; returns how many.

    Nothing is written where one of the files has changed since (UserError). Lines behind the first stay.
    """
    wanted = [one for one in proposals if one.after != one.before and Path(one.path).is_file()]
    for one in wanted:
        if caption_there(Path(one.path), ending) != one.before:
            raise UserError("tools.caption_changed", name=caption_file(Path(one.path), ending).name)
    for one in wanted:
        path = caption_file(Path(one.path), ending)
        write_whole(path, _content(path, one.after).encode())
    return len(wanted)


def _content(path: Path, caption: str) -> str:
    """The caption in place of the file's first line."""
    try:
        lines = decode_caption(path.read_bytes())[0].splitlines()
    except FileNotFoundError:
        lines = []
    rest = lines[next((number for number, line in enumerate(lines) if line.strip()), len(lines)) + 1 :]
    return "\n".join([caption, *rest]) + "\n"
