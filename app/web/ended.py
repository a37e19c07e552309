"""Sessions that somebody has logged out of: they open nothing any more, after a restart neither."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from trainer.files.whole_file import write_whole

OWNER_ONLY = 0o600


@dataclass
class EndedSessions:
    """Hash of a session -> when it would have ended by itself. `path`: the file that keeps them."""

    path: Path | None = None
    _ends: dict[str, int] = field(default_factory=dict)
    _read: tuple[int, int] = (0, 0)

    def __contains__(self, session: str) -> bool:
        self._look()
        return _hash(session) in self._ends

    def add(self, session: str, end: int, now: float) -> None:
        """End a session that would last until `end` (unix seconds), for this process even on a full disk."""
        self._look()
        self._ends = {name: until for name, until in self._ends.items() if until > now}
        self._ends[_hash(session)] = end
        if self.path:
            with suppress(OSError):
                write_whole(self.path, json.dumps(self._ends).encode(), OWNER_ONLY)

    def _look(self) -> None:
        """Another server of this workspace, to which the same sessions belong, may have ended some."""
        if not self.path:
            return
        with suppress(OSError, ValueError):
            stat = self.path.stat()
            if self._read == (stat.st_mtime_ns, stat.st_size):
                return
            found = json.loads(self.path.read_text(encoding="utf-8"))
            self._read = stat.st_mtime_ns, stat.st_size
            if isinstance(found, dict):
                self._ends |= {name: end for name, end in found.items() if isinstance(end, int)}


def _hash(session: str) -> str:
    """What is kept opens nothing, whoever reads it."""
    return hashlib.sha256(session.encode(errors="replace")).hexdigest()
