"""What an import did with every key, and how that is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from trainer.messages import Language, Message, say
from trainer.settings import TRAINING, Settings

Source = Literal[
    "lora_atelier", "kohya_ss", "sd_scripts", "lora_file", "onetrainer", "lora_easy", "ai_toolkit",
    "simpletuner", "musubi", "civitai", "diffusers", "unknown",
]  # fmt: skip
Kind = Literal["taken", "renamed", "converted", "defaulted", "out_of_range", "other_family", "unknown"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Entry:
    """What became of one key."""

    key: str
    """As it stands in the file; for `defaulted` the key that is absent."""
    kind: Kind
    setting: str = ""
    """Our setting, where there is one."""
    was: Any = None
    """Value in the file."""
    now: Any = None
    """Value in the settings (for `unknown` and `other_family`: None)."""
    why: str = ""
    """Code of the sentence that says why the value is not simply the file's."""
    note: str = ""
    """Code of the sentence that says where the other program did not do what its file says."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """More values for the sentences."""
    attention: bool = False
    """Worth a look: training may differ from what the file's owner had."""

    def lines(self, language: Language) -> list[str]:
        """One line, and one more for each reason."""
        label = TRAINING[self.setting].spec.label if self.setting else self.key
        values = {
            "key": self.key,
            "label": label,
            "was": shown(self.was, language),
            "now": shown(self.now, language),
            **self.values,
        }
        reasons = [str(say(Message(code, values), language)) for code in (self.why, self.note) if code]
        return [
            str(say(Message(f"kohya.line_{self.kind}", values), language)),
            *(f"  {reason}" for reason in reasons),
        ]

    def as_json(self, language: Language = "en") -> dict[str, Any]:
        """For `--json` and the page; `text` is the sentences in one language."""
        plain = {
            "key": self.key, "kind": self.kind, "setting": self.setting, "was": self.was, "now": self.now,
            "why": self.why, "note": self.note, "attention": self.attention,
        }  # fmt: skip
        return {**plain, "text": " ".join(line.strip() for line in self.lines(language))}


@dataclass(frozen=True)
class Reading:
    """One way to read a file that is not UTF-8."""

    file: str
    encoding: str
    sample: str
    """The first line with letters that tell."""
    used: bool


@dataclass(frozen=True)
class Report:
    """Every key of a file, and every setting that the file lacks."""

    source: Source
    age: str
    """Which age of the other program wrote the file, e.g. "2023-05 (v21.5)"; "" where there are no ages."""
    entries: tuple[Entry, ...]
    readings: tuple[Reading, ...] = ()
    """Every reading that fits, of each file that is not UTF-8."""

    def of(self, kind: Kind) -> tuple[Entry, ...]:
        """The entries of one kind, in the file's order."""
        return tuple(entry for entry in self.entries if entry.kind == kind)

    @property
    def attention(self) -> tuple[Entry, ...]:
        """Entries worth a look."""
        return tuple(entry for entry in self.entries if entry.attention)

    def counts(self) -> dict[str, int]:
        """How many keys of each kind."""
        return {kind: len(self.of(kind)) for kind in KINDS}

    def as_json(self, language: Language = "en") -> dict[str, Any]:
        """For `--json` and the page."""
        return {
            "source": self.source,
            "age": self.age,
            "counts": self.counts(),
            "entries": [entry.as_json(language) for entry in self.entries],
            "readings": [asdict(reading) for reading in self.readings],
        }


@dataclass(frozen=True)
class Imported:
    """Settings read from somewhere."""

    settings: Settings
    report: Report
    carried: Mapping[str, Any] = field(default_factory=dict)
    """What we do not use but must write back: hand it to `to_kohya`."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """The card of one of our presets; empty elsewhere."""
    dataset: str = ""
    """A dataset file's content that stands in no file yet; "Dataset config file" is to name one with it."""

    def as_json(self, language: Language = "en") -> dict[str, Any]:
        """For `python -m trainer import FILE --json`; secrets are left out."""
        return {
            **self.report.as_json(language),
            "settings": self.settings.flat(),
            "carried": dict(self.carried),
            "card": dict(self.card),
        }


def shown(value: Any, language: Language) -> str:
    """A value as a line of the report shows it: short, on one line."""
    if value is None or value == "":
        return str(say(Message("kohya.no_value"), language))
    return short(value)


def short(value: Any) -> str:
    """A value in at most 80 characters, on one line; "-" for none."""
    text = "" if value is None else " ".join(str(value).split())
    return (text if len(text) <= 80 else text[:77] + "…") or "-"


def attention_lines(entries: Sequence[Entry], language: Language = "en") -> Iterator[str]:
    """What is worth a look, under its title; nothing where nothing is."""
    if entries:
        yield str(say(Message("kohya.title_attention"), language))
    for entry in entries:
        yield from entry.lines(language)


def report_lines(report: Report, language: Language = "en") -> list[str]:
    """The whole report in words: what is worth a look first, then every key by kind."""
    return list(_report_lines(report, language))


def _report_lines(report: Report, language: Language) -> Iterator[str]:
    counts = {kind: len(report.of(kind)) for kind in KINDS}
    head = {
        "source": str(say(Message(f"kohya.source_{report.source}"), language)),
        "age": report.age,
        **counts,
    }
    yield str(say(Message("kohya.head_age" if report.age else "kohya.head", head), language))
    yield str(say(Message("kohya.counts", head), language))
    if report.attention:
        yield ""
        yield from attention_lines(report.attention, language)
    for kind in KINDS:
        if report.of(kind):
            yield ""
            yield str(say(Message(f"kohya.title_{kind}", counts), language))
            for entry in report.of(kind):
                yield from entry.lines(language)
