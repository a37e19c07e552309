"""What stands in a run's way, or is worth knowing before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.errors import UserError
from trainer.messages import Language, Message, Said, say

MOST_NAMES = 3
LONGEST_SHOWN = 60
"""Characters of one of several names."""


@dataclass(frozen=True)
class Problem:
    """One finding of the checks."""

    setting: str
    """Key of the setting to look at ("" where there is none)."""
    code: str
    """Names the sentences in texts/*.json."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Fill the sentences."""
    blocks: bool = True
    """True: training cannot start. False: a hint."""
    fix: Mapping[str, Any] | None = None
    """Settings that one click may set to mend it."""

    def said(self, language: Language = "en") -> Said:
        """The problem in words."""
        return say(Message(self.code, self.values), language)

    def as_json(self, language: Language = "en") -> dict[str, Any]:
        """As plain data, sentences included."""
        said = self.said(language)
        return {
            "setting": self.setting,
            "code": self.code,
            "blocks": self.blocks,
            "what": said.what,
            "why": said.why,
            "fix": said.fix,
            "changes": dict(self.fix) if self.fix else {},
        }


def from_error(error: UserError, fix: Mapping[str, Any] | None = None) -> Problem:
    """What a reader of a setting complained of, as a problem that stops the run."""
    return Problem(error.setting, error.message.code, error.message.values, fix=fix)


def hint(setting: str, code: str, fix: Mapping[str, Any] | None = None, **values: Any) -> Problem:
    """A problem that does not stop the run."""
    return Problem(setting, code, values, blocks=False, fix=fix)


def block(setting: str, code: str, fix: Mapping[str, Any] | None = None, **values: Any) -> Problem:
    """A problem that stops the run."""
    return Problem(setting, code, values, blocks=True, fix=fix)


def repeated(names: Iterable[str]) -> list[str]:
    """Those that stand more than once, in their order."""
    return [name for name, count in Counter(names).items() if count > 1]


def counted(counts: Mapping[str, int]) -> list[str]:
    """[".gif (1)", ".heic (12)"]."""
    return [f"{name} ({count:,})" for name, count in sorted(counts.items())]


def some_names(items: Sequence[str], most: int = MOST_NAMES) -> list[str]:
    """The first few of some names, and how many more there are with the last: ["a.png", "b.png (+5)"]."""
    rest = len(items) - most
    shown = [item if len(item) <= LONGEST_SHOWN else f"{item[: LONGEST_SHOWN - 1]}…" for item in items[:most]]
    return [*shown[:-1], f"{shown[-1]} (+{rest:,})"] if rest > 0 else shown
