"""A LoRA file explained: what it contains, which programs load it, the words it learned."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from app.jobs.smaller import smaller_ranks
from app.texts import base_name, size, thousands, word
from trainer.lora.info import LoraInfo, describe
from trainer.lora.readers import Reader, is_pickle, learned_words, pickle_readers, readers
from trainer.messages import Language, comma

MOST_SIZES = 6
LONGEST_VALUE = 2000
FORMAT_NAMES = {"F16": "fp16", "BF16": "bf16", "F32": "float"}
"""Formats under the names of "Save precision"."""


def card(path: Path, language: Language) -> dict[str, Any]:
    """The card of one file: rows (what it contains), readers, words, metadata. Raises UserError, OSError."""
    if is_pickle(path):
        rows = [[word(language, "inside.size"), size(path.stat().st_size)]]
        return {"name": path.name, "rows": rows, "readers": verdicts(pickle_readers(), language)}
    info = described(path)
    words = learned_words(info.metadata)
    return {
        "name": base_name(info.path),
        "summary": summary(info, language),
        "rows": contents(info, language),
        "readers": verdicts(readers(info), language),
        "classes": list(words.classes),
        "captions": [[text, count] for text, count in words.captions],
        "smaller": smaller_ranks(path),
        "metadata": [[key, info.metadata[key][:LONGEST_VALUE]] for key in sorted(info.metadata)],
    }


def described(path: Path) -> LoraInfo:
    """The file's header, read once as long as the file stays the same. Raises UserError, OSError."""
    stat = path.stat()
    return _described(str(path), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=16)
def _described(path: str, _changed: int, _size: int) -> LoraInfo:
    return describe(Path(path))


def summary(info: LoraInfo, language: Language) -> str:
    """ "rank 8, 192 modules"."""
    dims = {dim for dim, _ in info.sizes}
    rank = str(min(dims)) if len(dims) == 1 else f"{min(dims)}–{max(dims)}"  # a range
    return word(language, "inside.summary", rank=rank, modules=thousands(len(info.modules)))


def contents(info: LoraInfo, language: Language) -> list[list[str]]:
    """[what, how much], in words."""
    rows = [[word(language, "inside.kind"), _counted(info.kinds, language, counts=len(info.kinds) > 1)]]
    parts = [
        word(language, f"inside.part.{part}", count=thousands(count))
        for part, count in info.parts.most_common()
    ]
    rows.append([word(language, "inside.modules"), comma(language).join(parts)])
    for (dim, alpha), count in info.sizes.most_common(MOST_SIZES):
        ratio = 1.0 if alpha is None or not dim else alpha / dim
        values = {"alpha": "–" if alpha is None else f"{alpha:g}", "ratio": f"{ratio:.3g}"}  # a dash
        shown = word(language, "inside.alpha", rank=dim, **values)
        rank = word(language, "inside.rank_row") if len(rows) == 2 else ""
        rows.append([rank, shown if len(info.sizes) == 1 else f"{shown} ({thousands(count)})"])
    if info.family:
        works = word(language, f"works.{info.family}")
        if info.metadata.get("modelspec.prediction_type") == "v":
            works = word(language, "works.velocity", models=works)
        rows.append([word(language, "inside.base"), works])
    elif info.other_family:
        rows.append([word(language, "inside.base"), word(language, "works.other", title=info.other_family)])
    dtypes = {FORMAT_NAMES.get(name, name): count for name, count in info.dtypes.items()}
    rows.append([word(language, "inside.numbers"), _counted(dtypes, language, counts=len(dtypes) > 1)])
    return [*rows, [word(language, "inside.size"), size(info.size)]]


def _counted(counter: Any, language: Language, *, counts: bool = True) -> str:
    most_common = sorted(counter.items(), key=lambda item: -item[1])
    shown = (f"{name} {count}" if counts else str(name) for name, count in most_common)
    return comma(language).join(shown)


def verdicts(found: tuple[Reader, ...], language: Language) -> list[dict[str, str]]:
    """Name, verdict and sentence of every program; A1111 and Forge in one line where they agree."""
    rows = []
    for reader in found:
        text = word(language, f"reader.{reader.reason or f'yes_{reader.program}'}")
        rows.append({"program": reader.program, "verdict": reader.verdict, "text": text})
    if rows[0]["verdict"] == rows[1]["verdict"] and rows[0]["text"] == rows[1]["text"]:
        rows[:2] = [{**rows[0], "program": "a1111_forge"}]
    return [{**row, "name": word(language, f"reader.name.{row['program']}")} for row in rows]
