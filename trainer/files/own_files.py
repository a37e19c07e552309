"""What a job has written. Nothing else is ever replaced or removed, whatever a plan said before.

A name that was free when the plan was made may be taken hours later: by another run, by another program, by
the person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path


class OwnFiles:
    """The files and state folders of one job, and where the next one goes."""

    def __init__(self, written: Iterable[Path] = ()) -> None:
        """`written`: what earlier processes of this job have written, or begun to."""
        self._written = set(written)

    def place_for(self, path: Path) -> Path:
        """`path`, or with a number where something of others stands there: name-2, name-3 …"""
        return self.placed(path) or next(place for place in _numbered(path) if not _is_there(place))

    def placed(self, path: Path) -> Path | None:
        """Where this job has put what was meant for `path`; None where it has not."""
        return next((place for place in islice(_numbered(path), MOST_TRIED) if place in self._written), None)

    def add(self, path: Path) -> None:
        """This job writes here."""
        self._written.add(path)

    def discard(self, path: Path) -> None:
        """This job has removed what it wrote here."""
        self._written.discard(path)


MOST_TRIED = 100
"""Numbers that are looked at for a file of our own."""


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    ending = "-state" if path.name.endswith("-state") else path.suffix
    stem = path.name.removesuffix(ending)
    yield from (path.with_name(f"{stem}-{number}{ending}") for number in count(2))


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()
