"""The table of what was measured: one line per figure, ours beside sd-scripts'."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from tests.bench.rows import Row
from tests.bench.trainings import Figures

HEADINGS = {
    "step_cpu": "step, CPU s",
    "step_wall": "step, s",
    "host_wall": "step until all is asked of the card, s",
    "share": "share of the products' peak",
    "peak_gb": "peak, GB",
    "card_gb": "card's peak, GB",
    "start_cpu": "process start → first step, CPU s",
    "start_wall": "process start → first step, s",
    "after_cpu": "after the last step, CPU s",
    "latents_cpu": "a picture, CPU s",
    "looked_cpu": "process start → looked at, CPU s",
    "again_cpu": "looked at again, CPU s",
}
ON_CARD = ("host_wall", "card_gb")
"""Figures that are shown of a card alone."""


@dataclass(frozen=True)
class Pair:
    """A row measured once: ours, then sd-scripts'."""

    row: str
    ours: Figures
    theirs: Figures
    """Empty where it was not measured."""
    load: float
    """The machine's load average meanwhile; this program's own part is about the threads it uses."""
    threads: int

    def write(self, path: Path) -> None:
        """Add it to a file, one line each."""
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(self)) + "\n")


def read_pairs(path: Path) -> list[Pair]:
    """What was measured before."""
    return [Pair(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def load() -> float:
    """The machine's load, where it tells."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def table(pairs: Sequence[Pair], rows: Iterable[Row], *, gpu: bool) -> str:
    """Markdown: medians of both, the median of the pairs' ratios, its range, and what was aimed at."""
    lines = [
        "| what | | ours | sd-scripts | ratio | aim | pairs | load |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        of_row = [pair for pair in pairs if pair.row == row.name]
        names = [name for name in HEADINGS if any(name in pair.ours for pair in of_row)]
        lines += [_line(row, name, of_row) for name in names if gpu or name not in ON_CARD]
    return "\n".join(lines)


def _line(row: Row, name: str, pairs: Sequence[Pair]) -> str:
    found = [pair for pair in pairs if name in pair.ours]
    both = [pair for pair in found if pair.theirs.get(name)]
    aim = f"≤ {row.aims[name]}" if name in row.aims else ""
    cells = [
        row.name,
        HEADINGS[name],
        _middle([pair.ours for pair in found], name),
        _middle([pair.theirs for pair in both], name),
        _ratio([pair.ours[name] / pair.theirs[name] for pair in both]),
        aim,
        str(len(both or found)),
        f"{median(pair.load for pair in found):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _middle(figures: Sequence[Mapping[str, float]], name: str) -> str:
    return f"{median(one[name] for one in figures):.2f}" if figures else ""


def _ratio(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    span = f" ({min(ratios):.2f}–{max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"**{median(ratios):.2f}**{span}"
