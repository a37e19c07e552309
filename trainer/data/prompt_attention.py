r"""Emphasis in captions: the syntax of the Stable Diffusion web UI.

`(text)` counts 1.1 times, `[text]` 1/1.1 times, `(text:1.4)` 1.4 times; brackets nest, `\(` is a plain
bracket. What is left open at the end counts as closed there.
"""

from __future__ import annotations

import re

UP, DOWN = 1.1, 1 / 1.1
DEEPEST_BRACKETS, MOST_BRACKETS = 100, 1_000
HEAVIEST = 1_000.0
"""A weight beyond which nothing is left but noise."""

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

    Raises ValueError for a weight such as 1.1.1, and for brackets and weights that no one can mean.
    """
    pieces: list[tuple[str, float]] = []
    factors: list[tuple[int, int, float]] = []  # (from piece, to piece, factor), inner brackets first
    round_open: list[int] = []
    square_open: list[int] = []
    for match in TOKENS.finditer(text):
        found, kind = match[0], match.lastgroup
        if kind == "escaped":
            pieces.append((found[1:], 1.0))
        elif kind == "open":
            (round_open if found == "(" else square_open).append(len(pieces))
        elif kind == "weight" and round_open:
            factors.append((round_open.pop(), len(pieces), float(found[1:-1])))
        elif found == ")" and round_open:
            factors.append((round_open.pop(), len(pieces), UP))
        elif found == "]" and square_open:
            factors.append((square_open.pop(), len(pieces), DOWN))
        else:
            pieces.append((found, 1.0))
    if len(round_open) + len(square_open) > DEEPEST_BRACKETS or len(factors) > MOST_BRACKETS:
        raise ValueError("brackets")
    factors += [(start, len(pieces), UP) for start in round_open]
    factors += [(start, len(pieces), DOWN) for start in square_open]
    weights = [weight for _, weight in pieces]
    for start, end, factor in factors:
        weights[start:end] = [weight * factor for weight in weights[start:end]]
    if not all(abs(weight) <= HEAVIEST for weight in weights):
        raise ValueError("weight")
    return _merged([(piece, weight) for (piece, _), weight in zip(pieces, weights, strict=True)]) or [
        ("", 1.0)
    ]


def _merged(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Neighbours of equal weight become one piece."""
    merged: list[tuple[str, float]] = []
    for piece, weight in pieces:
        if merged and merged[-1][1] == weight:
            merged[-1] = (merged[-1][0] + piece, weight)
        else:
            merged.append((piece, weight))
    return merged
