"""The files of one import: the one that is read, those that it names, and how each is turned into letters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.files.reading import decoded, is_utf, parse_table, read_bytes, readings
from trainer.files.roots import MayRead
from trainer.kohya.report import Entry, Reading


@dataclass(frozen=True)
class Beside:
    """Where files are looked for that a text names, which may be opened, and how they are read."""

    path: str = ""
    """The file that names them; "" for a pasted text."""
    handed_over: bool = False
    """`path` is only a name: the file came from a browser and lies nowhere here."""
    may_read: MayRead | None = None
    """None: any."""
    encoding: str = ""
    """How the person wants files read that are not UTF-8: a name of `readings`; "" for the likeliest."""
    written: Mapping[str, str] = field(default_factory=dict)
    """Files that the text writes itself, under the names that it uses."""
    readings: list[Reading] = field(default_factory=list)
    """Of the files that are not UTF-8: filled as they are read."""

    @property
    def place(self) -> str:
        """Where the file lies; "" for what lies nowhere."""
        return "" if self.handed_over else self.path

    def text(self, data: bytes, name: str) -> str:
        """A file's letters. Raises UserError for what is no text."""
        likeliest = decoded(data, name)
        if is_utf(data):
            return likeliest
        texts = dict(readings(data))
        used = self.encoding if self.encoding in texts else next(iter(texts))
        self.readings.extend(
            Reading(name, encoding, _sample(text), used=encoding == used) for encoding, text in texts.items()
        )
        return texts[used]

    def table(self, name: str) -> Mapping[str, Any]:
        """The table in a TOML or JSON file that the text names; {} where it is not at hand."""
        if name in self.written:
            return parse_table(self.written[name], Path(name))
        file = self.table_file(name)
        return parse_table(self.text(read_bytes(file), file.name), file) if file else {}

    def table_file(self, name: str) -> Path | None:
        """Where that TOML or JSON file lies; None where it is not at hand."""
        named = name if name.lower().endswith((".toml", ".json")) else f"{name}.toml"
        return self.find(named, (".toml", ".json"))

    def lines(self, name: str) -> str | None:
        """A prompt file's content; None where it is not at hand."""
        if name in self.written:
            return self.written[name]
        file = self.find(name, (".txt",))
        return self.text(read_bytes(file), file.name) if file else None

    def find(self, name: str, endings: tuple[str, ...]) -> Path | None:
        """A file that another names: there, or beside the file that names it."""
        last = name.replace("\\", "/").rpartition("/")[2]
        beside = [Path(self.place).parent / name, Path(self.place).parent / last] if self.place else []
        usable = [place for place in [Path(name), *beside] if place.suffix.lower() in endings]
        if self.may_read:  # not even looked at before
            usable = [place for place in usable if self.may_read(place)]
        return next(filter(_is_file, usable), None)

    def asked(self) -> tuple[Entry, ...]:
        """A line of the report for each file that is not UTF-8."""
        return tuple(self._asked(reading) for reading in self.readings if reading.used)

    def _asked(self, used: Reading) -> Entry:
        of_file = [reading for reading in self.readings if reading.file == used.file and not reading.used]
        other_readings = " / ".join(f"{reading.encoding}: {reading.sample}" for reading in of_file) or "–"
        values = {"used": used.encoding, "sample": used.sample, "others": other_readings}
        open_still = used.encoding != self.encoding
        why = "kohya.encoding" if open_still else "kohya.encoding_chosen"
        return Entry(used.file, "unknown", was=used.encoding, why=why, values=values, attention=open_still)


def _sample(text: str) -> str:
    """The first line with letters beyond ASCII."""
    return next((line.strip()[:60] for line in text.splitlines() if not line.isascii()), "")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that this system cannot have
        return False
