r"""Emphasis in captions: the syntax of the Stable Diffusion web UI.

`(text)` counts 1.1 times, `[text]` 1/1.1 times, `(text:1.4)` 1.4 times; brackets nest, `\(` is a plain
bracket. What is left open at the end counts as closed there.
"""

from __future__ import annotations

import re

UP, DOWN = 1.1, 1 / 1.1

TOKENS = re.compile(
    r"""
    (?P<escaped> \\[()\[\]\\] )
  | (?P<open> [(\[] )
  | (?P<weight> :\s*[+-]?[.\d]+\s*\) )   # only counts where a "(" is open
  | (?P<close> [)\]] )
  | (?P<text> [^\\()\[\]:]+ | : | \\ )
    """,
    re.VERBOSE,
)


def parse_weights(text: str) -> list[tuple[str, float]]:
    """Pieces of a caption and how much each counts. A blank caption gives one blank piece.

    Raises ValueError for a weight such as 1.1.1.
    """
    pieces: list[tuple[str, float]] = []
    round_open: list[int] = []
    square_open: list[int] = []

    def multiply(start: int, factor: float) -> None:
        pieces[start:] = [(piece, weight * factor) for piece, weight in pieces[start:]]

    for match in TOKENS.finditer(text):
        found, kind = match[0], match.lastgroup
        if kind == "escaped":
            pieces.append((found[1:], 1.0))
        elif kind == "open":
            (round_open if found == "(" else square_open).append(len(pieces))
        elif kind == "weight" and round_open:
            multiply(round_open.pop(), float(found[1:-1]))
        elif found == ")" and round_open:
            multiply(round_open.pop(), UP)
        elif found == "]" and square_open:
            multiply(square_open.pop(), DOWN)
        else:
            pieces.append((found, 1.0))
    for start in round_open:
        multiply(start, UP)
    for start in square_open:
        multiply(start, DOWN)
    return _merged(pieces) or [("", 1.0)]


def _merged(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Neighbours of equal weight become one piece."""
    merged: list[tuple[str, float]] = []
    for piece, weight in pieces:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + piece, weight)
        else:
            merged.append((piece, weight))
    return merged
