"""Settings and report under construction, shared by all readers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from trainer.kohya.fitting import fit
from trainer.kohya.report import Entry, Imported, Kind, Report, Source
from trainer.settings import TRAINING, Settings

OWN = "lora_atelier"
"""The one extra key of our files: what only we have."""
MASKED = "***"
"""What reports show of a secret."""


class Draft:
    """Takes keys one by one; `finish` fills up with `defaults` and reports the absent ones."""

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        self.defaults = {key: defaults.get(key, setting.default) for key, setting in TRAINING.items()}
        self.values: dict[str, Any] = {}
        self.entries: list[Entry] = []
        self.carried: dict[str, Any] = {}
        self.own: dict[str, Any] = {}
        """What goes under `carried[OWN]`."""
        self.dataset = ""
        """A dataset file's content, where it stands in no file that could be named."""
        self.notes: dict[str, str] = {}
        """Setting -> code of a remark, should it be absent from the file."""

    def get(self, setting: str) -> Any:
        """The value so far, else the default."""
        return self.values.get(setting, self.defaults[setting])

    def take(
        self,
        setting: str,
        raw: Any,
        *,
        key: str = "",
        was: Any = None,
        why: str = "",
        note: str = "",
        **values: Any,
    ) -> None:
        """Set a setting from a value of the file.

        `raw` is already translated where the file's value (`was`) means something else here; `why`
        then says so. A value that cannot be kept is remembered, so that saving writes it back.
        """
        fitted = fit(TRAINING[setting], raw, self.defaults[setting])
        kind: Kind = fitted.kind
        secret = TRAINING[setting].is_secret and fitted.value
        both = (MASKED, MASKED) if secret else (raw if was is None else was, fitted.value)
        reads_the_same = str(both[0]) == str(both[1])
        if kind == "converted" and reads_the_same and not fitted.attention:
            kind = "taken"
        if kind == "taken" and why and not reads_the_same:
            kind = "converted"
        elif kind == "taken" and key not in ("", setting):
            kind = "renamed"
        self.values[setting] = fitted.value
        if fitted.attention:
            self.replaced(setting, raw, fitted.value)
        attention = fitted.attention or bool(note)
        self.entries.append(
            Entry(key or setting, kind, setting, *both, fitted.why or why, note, values, attention=attention)
        )

    def adopt(self, entry: Entry, key: str) -> None:
        """Set a setting as another draft did, under the key that this file has for it."""
        self.values[entry.setting] = entry.now
        kind = "renamed" if entry.kind == "taken" and key != entry.setting else entry.kind
        self.entries.append(replace(entry, key=key, kind=kind))

    def replaced(self, setting: str, in_file: Any, here: Any) -> None:
        """Remember a value that saving is to write back, as long as ours stays as it is."""
        self.own.setdefault("replaced", {})[setting] = {"file": in_file, "here": here}

    def forget(self, setting: str) -> str:
        """Drop what is reported of a setting, since more is known; gives its key in the file, or ""."""
        key = next((entry.key for entry in self.entries if entry.setting == setting), "")
        self.entries = [entry for entry in self.entries if entry.setting != setting]
        return key

    def add(self, key: str, kind: Kind, was: Any = None, **more: Any) -> None:
        """Report a key that changes no setting here."""
        self.entries.append(Entry(key, kind, was=was, **more))

    def remark(self, key: str, note: str, **values: Any) -> None:
        """Have what is reported of a key looked at, with a sentence more."""
        self.entries = [
            replace(entry, note=note, values={**entry.values, **values}, attention=True)
            if entry.key.partition(" ")[0] == key
            else entry
            for entry in self.entries
        ]

    def carry(self, key: str, value: Any) -> None:
        """Keep a key that is no setting, to be written back."""
        self.carried[key] = value

    def finish(
        self, source: Source, age: str = "", card: Mapping[str, Any] | None = None, order: Iterable[str] = ()
    ) -> Imported:
        """Settings, a report that lists absent keys too, and what must be written back.

        `order`: the file's keys, for the order of the report.
        """
        places = {key: at for at, key in enumerate(order)}
        self.entries.sort(key=lambda entry: places.get(entry.key.partition(" ")[0], len(places)))
        for setting in TRAINING:
            if setting not in self.values:
                value = fit(TRAINING[setting], self.defaults[setting], TRAINING[setting].default).value
                self.values[setting] = value
                self.entries.append(
                    Entry(setting, "defaulted", setting, now=value, note=self.notes.get(setting, ""))
                )
        carried = {**self.carried, **({OWN: self.own} if self.own else {})}
        settings = Settings.from_flat(self.values)
        report = Report(source, age, tuple(self.entries))
        return Imported(settings, report, carried, card or {}, self.dataset)
