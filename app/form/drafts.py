"""The unsaved form of each browser, kept on the server: it comes back after a reload or in a second tab.

Several tabs share one draft. Each tells which settings it has changed itself since it last looked, so that
what another tab has changed meanwhile stays, and is handed over.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.files.whole_file import write_whole
from trainer.schema import Schema
from trainer.settings import TRAINING

MOST_DRAFTS = 200
MOST_TABS = 1000
FILE_FIELDS = ("path", "offered", "carried", "report", "mark")
"""What belongs to the file that was loaded, not to a setting: it goes from tab to tab as one.

`mark` tells what the form held when the file was loaded or saved."""


@dataclass(frozen=True)
class OpenPage:
    """A page that is open: its name, and the version of the draft that it knows."""

    name: str = ""
    since: int = 0
    number: int = 0
    """Counts its questions: one that is overtaken by a later one changes nothing."""


@dataclass(frozen=True)
class MergedForm:
    """What one tab's form became together with what others have changed since it last looked."""

    version: int
    values: dict[str, Any]
    taken: dict[str, Any] = field(default_factory=dict)
    """Settings that only another tab has changed: this tab takes them over."""
    conflicts: dict[str, Any] = field(default_factory=dict)
    """Settings that both have changed: this tab's value stays, here is the other's."""
    file: dict[str, Any] | None = None
    """The FILE of another tab, where only it has loaded one."""


class Drafts:
    """A folder with one JSON file per browser; secrets are left out.

    {"values", *FILE, "version", "changed": {setting: [version, tab]}}
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._newest: OrderedDict[tuple[str, str], int] = OrderedDict()

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
        draft = data if isinstance(data, dict) else {}
        return {**draft, "values": values} if isinstance(values := draft.get("values"), dict) else {}

    def overtaken(self, browser: object, tab: OpenPage) -> bool:
        """Whether the same tab has asked a later question already; notes this one otherwise."""
        name = (str(browser or ""), tab.name)
        with self._lock:
            newest = self._newest.get(name, 0)
            self._newest[name] = max(newest, tab.number)
            self._newest.move_to_end(name)
            while len(self._newest) > MOST_TABS:
                self._newest.popitem(last=False)
            return tab.number < newest

    def merged(
        self, browser: object, values: Mapping[str, Any], changes: Collection[str], tab: OpenPage
    ) -> MergedForm:
        """A tab's form with what other tabs have changed since; `changes`: its own, "file" for the FILE."""
        draft = self.read(browser)
        version, known = draft_version(draft), draft.get("values") or {}
        others = {key for key, (at, who) in changed_by(draft).items() if at > tab.since and who != tab.name}
        mine = set(changes)
        differs = {key: known[key] for key in others & set(known) if known[key] != values.get(key)}
        taken = {key: value for key, value in differs.items() if key not in mine}
        file = {part: draft.get(part) for part in FILE_FIELDS} if "file" in others - mine else None
        conflicts = {key: value for key, value in differs.items() if key in mine}
        return MergedForm(version, {**values, **taken}, taken, conflicts, file)

    def write(
        self,
        browser: object,
        values: Mapping[str, Any],
        changes: Collection[str] | None = None,
        tab: OpenPage | None = None,
        **file: Any,
    ) -> MergedForm:
        """Merge a tab's form into the draft (see `merged`) and keep it.

        `changes` None: all that differs from the draft. `file`: FILE, or some of it.
        """
        tab = tab or OpenPage()
        path = self._file(browser)
        with self._lock:
            draft = self.read(browser)
            known = draft.get("values") or {}
            mine = set(changes if changes is not None else {*values, "file"})
            merged = self.merged(browser, values, mine, tab)
            if path is None or tab.number < self._newest.get((str(browser), tab.name), 0):
                return merged
            kept = without_secrets(merged.values)
            said = {
                part: file[part] for part in file if merged.file is None and draft.get(part) != file[part]
            }
            new = [key for key in kept if key in mine and kept[key] != known.get(key)]
            new += ["file"] if said and "file" in mine else []
            version = merged.version + 1 if new else merged.version
            changed = {**changed_by(draft), **dict.fromkeys(new, (version, tab.name))}
            draft = {**draft, **said, "values": kept, "version": version, "changed": changed}
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(draft, ensure_ascii=False).encode())
            self._forget_old()
        return MergedForm(version, merged.values, merged.taken, merged.conflicts, merged.file)

    def _forget_old(self) -> None:
        files = sorted(self.folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in files[MOST_DRAFTS:]:
            file.unlink(missing_ok=True)


def draft_version(draft: Mapping[str, Any]) -> int:
    """How often a draft was changed."""
    version = draft.get("version")
    return version if isinstance(version, int) else 0


def changed_by(draft: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """When a setting was changed last, and by which tab; {} in drafts of older versions."""
    changed = draft.get("changed")
    entries = changed.items() if isinstance(changed, dict) else ()
    return {
        key: (entry[0], str(entry[1]))
        for key, entry in entries
        if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], int)
    }


def without_secrets(values: Mapping[str, Any], schema: Schema[Any] = TRAINING) -> dict[str, Any]:
    """Values of known settings that may be written to disk."""
    return {key: value for key, value in values.items() if key in schema and not schema[key].is_secret}
