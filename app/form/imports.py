"""Files that the page reads for a person: what a browser hands over, and the report it shows afterwards."""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from app.form import own_pictures
from trainer import kohya
from trainer.errors import UserError
from trainer.kohya.report import KINDS, Entry, Imported, Kind, Report
from trainer.kohya.source import MayRead, read_data
from trainer.messages import Language, Message, say

MOST_TEXT = 8_000_000
MOST_PIECES = 12_000_000
"""Characters of a LoRA file's pieces: its header is far below a megabyte."""
LARGEST_LORA = 8_000_000_000
NOT_AS_IN_THE_FILE: tuple[Kind, ...] = ("renamed", "converted", "out_of_range", "unknown")
"""With none of these the report need not open by itself."""


def read_given(request: Mapping[str, Any], may_read: MayRead) -> Imported:
    """Settings from a file's `text` and `name` (blank: pasted), its `bytes` (not UTF-8), or from the `pieces`
    of a LoRA file.

    Its `encoding`, if any, is what the person chose for files that are not UTF-8. `may_read` says which files
    of this machine may be opened that the text names. Raises UserError for what is none.
    """
    encoding = str(request.get("encoding") or "")
    name = Path(str(request.get("name") or "").replace("\\", "/")).name
    if "pieces" in request:
        return read_pieces(name, request.get("pieces"), request.get("size"))
    if "bytes" in request:
        try:
            data = base64.b64decode(str(request["bytes"])[: 2 * MOST_TEXT], validate=True)
        except ValueError as error:
            raise UserError("kohya.not_text", path=name) from error
        return read_data(data, name, may_read, encoding, handed_over=True)
    text = str(request.get("text") or "")[:MOST_TEXT]
    return kohya.read_text(text, name, may_read, encoding, handed_over=True)


def with_dataset_file(imported: Imported, into: Path, name: str) -> Imported:
    """Keep the folders of pictures that stand only in what was handed over as a dataset file in `into`.

    `name` is that of what was handed over, if any. Raises OSError where it cannot be written.
    """
    if not imported.dataset:
        return imported
    plain = re.sub(r"[^\w-]+", "_", Path(name).stem).strip("_")[:60]
    path = str(own_pictures.write_dataset_file(imported.dataset, into, plain or "dataset"))
    entries = tuple(
        replace(entry, kind="converted", now=path, note="", why="kohya.dataset_kept", attention=False)
        if entry.setting == "dataset_config"
        else entry
        for entry in imported.report.entries
    )
    settings = imported.settings.replace(dataset_config=path)
    return replace(imported, settings=settings, report=replace(imported.report, entries=entries), dataset="")


def read_pieces(name: str, pieces: Any, size: Any) -> Imported:
    """A LoRA file of which only the header and one alpha were sent: [[offset, base64], …] and its size.

    A file of that size with nothing else in it has the same header. Raises UserError.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lora.safetensors"
        try:
            _write_pieces(path, pieces, int(size))
        except (TypeError, ValueError, OverflowError) as error:
            raise UserError("kohya.damaged_lora", path=name) from error
        try:
            return kohya.read(path)
        except UserError as error:
            values = {**error.message.values, **({"path": name} if "path" in error.message.values else {})}
            raise UserError(error.message.code, **values) from error


def _write_pieces(path: Path, pieces: Any, size: int) -> None:
    """A file of `size` bytes with these pieces in it. Raises ValueError where they do not fit."""
    placed = [(int(offset), base64.b64decode(text, validate=True)) for offset, text in pieces]
    fitting = all(0 <= offset <= size - len(data) for offset, data in placed)
    if not fitting or not 0 < size <= LARGEST_LORA or sum(len(data) for _, data in placed) > MOST_PIECES:
        raise ValueError("no pieces of a LoRA file")
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in placed:
            file.seek(offset)
            file.write(data)


def report_json(report: Report, language: Language) -> dict[str, Any]:
    """The report as the page shows it: what is worth a look, then every key by kind."""
    counts = report.counts()
    head = {"source": str(say(Message(f"kohya.source_{report.source}"), language)), "age": report.age}
    code = "kohya.head_age" if report.age else "kohya.head"
    return {
        "head": str(say(Message(code, {**head, **counts}), language)),
        "attention": [entry_json(entry, language) for entry in report.attention],
        "kinds": [
            {
                "kind": kind,
                "title": str(say(Message(f"kohya.title_{kind}", counts), language)).rstrip(":： "),
                "entries": [entry_json(entry, language) for entry in report.of(kind)],
            }
            for kind in KINDS
            if counts[kind]
        ],
        "readings": [asdict(reading) for reading in report.readings],
        "quiet": not report.attention and not any(counts[kind] for kind in NOT_AS_IN_THE_FILE),
    }


def entry_json(entry: Entry, language: Language) -> dict[str, Any]:
    """What became of one key, in words."""
    line, *reasons = entry.lines(language)
    return {"setting": entry.setting, "line": line, "reasons": [reason.strip() for reason in reasons]}
