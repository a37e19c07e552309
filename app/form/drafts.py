"""The unsaved form of each browser, kept on the server: it comes back after a reload or in a second tab."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.files.whole_file import write_whole
from trainer.schema import Schema
from trainer.settings import TRAINING

MOST_DRAFTS = 200


class Drafts:
    """A folder with one JSON file per browser; secrets are left out.

    {"values", "path", "offered", "carried", "report"}
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _file(self, browser: object) -> Path | None:
        """The browser's file; None for an id that is none (it comes from a cookie)."""
        name = str(browser or "")
        return self.folder / f"{name}.json" if re.fullmatch(r"[0-9a-f]{16,64}", name) else None

    def read(self, browser: object) -> dict[str, Any]:
        """The draft, or {} where there is none."""
        path = self._file(browser)
        try:
            data = json.loads(path.read_text(encoding="utf-8")) if path else {}
        except (OSError, ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}

    def write(self, browser: object, **parts: Any) -> None:
        """Change some parts of the draft."""
        path = self._file(browser)
        if not path:
            return
        draft = {**self.read(browser), **parts}
        draft["values"] = without_secrets(draft.get("values") or {})
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(draft, ensure_ascii=False).encode())
        self._forget_old()

    def _forget_old(self) -> None:
        files = sorted(self.folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in files[MOST_DRAFTS:]:
            file.unlink(missing_ok=True)


def without_secrets(values: Mapping[str, Any], schema: Schema[Any] = TRAINING) -> dict[str, Any]:
    """Values of known settings that may be written to disk."""
    return {key: value for key, value in values.items() if key in schema and not schema[key].is_secret}
