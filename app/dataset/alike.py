"""Pictures that are the same, or nearly so: told by 64 bits of their coarse light and dark.

A perceptual hash by the cosine transform (pHash, as in the package imagehash), and beside it the direction of
change along rows (dHash), and the coarse colours: two pictures are alike only where all three say so, since
drawings on plain grounds make each alone say it too often.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COMPARED_SIDE = 32
COEFFICIENTS = 8
"""Rows and columns of the cosine transform that count."""
NEAR_BITS = 6
"""Bits of 64 in which near-duplicates differ at most."""
NEAR_ROWS = 10
NEAR_COLOURS = 10
"""How far the colours of a 4 × 4 view are apart at most, of 255, on average."""
COMPARED_AT_ONCE = 512
"""Pictures that are compared with all others in one piece."""


def _cosines() -> NDArray[np.float64]:
    """(COEFFICIENTS, COMPARED_SIDE): the first waves of the cosine transform (II)."""
    wave, place = np.arange(COEFFICIENTS)[:, None], np.arange(COMPARED_SIDE)[None, :]
    return np.cos(math.pi * wave * (2 * place + 1) / (2 * COMPARED_SIDE))


COSINES = _cosines()


class Likeness(NamedTuple):
    """What is compared of a picture."""

    waves: int
    rows: int
    colours: bytes


def look_at(picture: Image.Image) -> Likeness:
    """pHash and dHash of a picture, 64 bits each, and its coarse colours."""
    grey = picture.convert("L")
    light = np.asarray(grey.resize((COMPARED_SIDE, COMPARED_SIDE), Image.Resampling.BOX), dtype=np.float64)
    waves = COSINES @ light @ COSINES.T
    flat = waves.flatten()
    rows = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    colours = picture.convert("RGB").resize((4, 4), Image.Resampling.BOX).tobytes()
    return Likeness(_number(flat > np.median(flat[1:])), _number(rows[:, 1:] > rows[:, :-1]), colours)


def _number(bits: NDArray[Any]) -> int:
    return int.from_bytes(np.packbits(bits.flatten()).tobytes(), "big")


def groups(found: Sequence[Likeness | None]) -> list[list[int]]:
    """Places of pictures that are alike, directly or through others; None: a picture that cannot be read."""
    same: dict[Likeness, list[int]] = defaultdict(list)
    for place, look in enumerate(found):
        if look is not None:
            same[look].append(place)
    looks = list(same)
    leader = list(range(len(looks)))
    for one, other in _near(looks):
        leader[_head(leader, one)] = _head(leader, other)
    gathered: dict[int, list[int]] = defaultdict(list)
    for at, look in enumerate(looks):
        gathered[_head(leader, at)] += same[look]
    return sorted(sorted(group) for group in gathered.values() if len(group) > 1)


def _head(leader: list[int], at: int) -> int:
    """The one that stands for a group; the way to it is shortened."""
    while leader[at] != at:
        leader[at] = leader[leader[at]]
        at = leader[at]
    return at


def _near(looks: Sequence[Likeness]) -> Iterator[tuple[int, int]]:
    """Pairs of places whose pictures are nearly the same."""
    waves = np.array([look.waves for look in looks], dtype=np.uint64)
    rows = np.array([look.rows for look in looks], dtype=np.uint64)
    colours = np.array([list(look.colours) for look in looks], dtype=np.int16)
    for start in range(0, len(looks), COMPARED_AT_ONCE):
        part = slice(start, start + COMPARED_AT_ONCE)
        near = np.bitwise_count(waves[part, None] ^ waves[None, :]) <= NEAR_BITS
        near &= np.bitwise_count(rows[part, None] ^ rows[None, :]) <= NEAR_ROWS
        ones, others = np.nonzero(near)
        ones += start
        once = ones < others
        ones, others = ones[once], others[once]
        close = np.abs(colours[ones] - colours[others]).mean(axis=1) <= NEAR_COLOURS
        yield from zip(ones[close].tolist(), others[close].tolist(), strict=True)
