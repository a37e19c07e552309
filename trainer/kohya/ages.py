"""Which kohya_ss wrote a file, and what an absent key meant to it.

ages.json holds, read off kohya_ss's own releases: each key's first release (and the first one without
it), and each field's default by release. Nothing is taken from the screen, as kohya_ss itself does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.settings import TRAINING

_table = json.loads(Path(__file__).with_name("ages.json").read_text(encoding="utf-8"))
AGE_NAMES: tuple[str, ...] = tuple(age["name"] for age in _table["ages"])
_index = {name: at for at, name in enumerate(AGE_NAMES)}
_dates = {age["name"]: age["date"] for age in _table["ages"]}
_since: dict[str, int] = {key: _index[span[0]] for key, span in _table["keys"].items()}
_until: dict[str, int] = {
    key: _index[span[1]] if len(span) > 1 else len(AGE_NAMES) for key, span in _table["keys"].items()
}
KNOWN_KEYS = frozenset(_since)
"""Every key that any kohya_ss wrote on its LoRA tab."""
PLACES = frozenset(
    key
    for key, s in TRAINING.items()
    if s.spec.tab in ("source_model", "folders") or s.spec.widget in ("file", "folder")
)
"""Keys that people take out of a file before they share it."""

BEFORE: dict[str, Any] = {
    "bucket_no_upscale": False, "min_bucket_reso": 256, "max_bucket_reso": 1024, "learning_rate": 1e-4,
    "max_train_steps": 0, "sdxl_no_half_vae": False, "text_encoder_lr": 5e-5, "optimizer": "AdamW8bit",
    "multires_noise_discount": 0, "train_on_input": True, "seed": None, "caption_extension": "",
}  # fmt: skip
"""What held before a release had the key, where that is not simply "off"."""


@dataclass(frozen=True)
class Age:
    """One release of kohya_ss, or the span until its form changed again."""

    name: str

    @property
    def index(self) -> int:
        """Position in time."""
        return _index[self.name]

    def __str__(self) -> str:
        return f"kohya_ss {self.name} ({_dates[self.name]})"

    def before(self, name: str) -> bool:
        """Older than the release `name`."""
        return self.index < _index[name]

    def has(self, key: str) -> bool:
        """Whether this release knew the key."""
        return key in _since and _since[key] <= self.index < _until[key]

    def defaults(self) -> dict[str, Any]:
        """Every setting's value in a fresh form of this release."""
        return {key: self._default(key) for key in TRAINING}

    def _default(self, key: str) -> Any:
        defaults = [value for name, value in _table["defaults"].get(key, ()) if _index[name] <= self.index]
        if defaults:
            return _plain(key, defaults[-1])
        if key in BEFORE:
            return BEFORE[key]
        newest = _table["defaults"].get(key)
        return _plain(key, newest[0][1]) if newest else TRAINING[key].default


def _plain(key: str, value: Any) -> Any:
    """A blank box as the value it stood for."""
    blanks = {"max_data_loader_n_workers": 0, "max_train_epochs": 0, "max_train_steps": 0, "noise_offset": 0,
              "lr_scheduler_power": 1, "lr_scheduler_num_cycles": 1}  # fmt: skip
    if key == "seed":
        return None if value in ("", 0) else value
    return blanks[key] if value == "" and key in blanks else value


NEWEST = Age(AGE_NAMES[-1])


def recognise(data: Mapping[str, Any]) -> Age:
    """The release that most likely wrote this file: the one whose keys match best.

    Keys alone decide, as people edit files and tools rename keys in old ones. A file with too few to
    tell counts as the newest that its oldest key and its values as text allow.
    """
    present = [key for key in data if key in _since]
    shared = {key for key in present if key not in PLACES}

    def likeness(at: int) -> float:
        own = {key for key in _since if _since[key] <= at < _until[key] and key not in PLACES}
        return len(shared & own) / len(shared | own)

    best = max(range(len(AGE_NAMES)), key=lambda at: (round(likeness(at), 6), at))
    if likeness(best) >= 0.5:
        return Age(AGE_NAMES[best])
    newest = min((_until[key] - 1 for key in present), default=len(AGE_NAMES) - 1)
    if isinstance(data.get("seed"), str) or isinstance(data.get("max_train_epochs"), str):
        newest = min(newest, _index["v24.0"] - 1)
    return Age(AGE_NAMES[newest])
