"""Does a sample picture show something new, or one of the training pictures again?

Pictures are compared small and in grey, without their brightness and contrast, as perceptual hashes do:
0 is the same picture, 1 has nothing to do with it. How near is too near, the training pictures say
themselves: samples that lie nearer to one of them than they lie to each other have been learned by heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.pixels import load_pixels
from trainer.errors import UserError

TOO_NEAR = 0.5
"""Of `Gallery.nearness`: so near lie copies."""
SIDE = 16
"""Pixels to which pictures are brought, whatever their shape."""
GreyPicture = NDArray[np.float32]
"""(SIDE²,), mean 0 and length 1; all 0 for a picture of one colour."""


def look_of(picture: Image.Image) -> GreyPicture:
    """What of a picture is compared."""
    grey = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    values = np.asarray(grey, dtype=np.float32).ravel()
    values = values - values.mean()
    length = float(np.linalg.norm(values))
    return values / length if length > 1e-3 else values * 0


@dataclass(frozen=True)
class Nearest:
    """The training picture that a sample is most like."""

    index: int
    distance: float


@dataclass(frozen=True)
class Gallery:
    """The training pictures as they are compared, upright and in a mirror."""

    looks: NDArray[np.float32]
    """(N, SIDE²)."""

    @classmethod
    def of(cls, pictures: Sequence[Path], most: int = 100) -> Gallery:
        """Of picture files; of very many an even choice. What cannot be read is left out."""
        some = pictures[:: -(-len(pictures) // most)] if pictures else ()
        looks = [look for path in some if (look := _read(path)) is not None]
        return cls(np.stack(looks) if looks else np.zeros((0, SIDE * SIDE), np.float32))

    def nearest(self, picture: Image.Image) -> Nearest | None:
        """The training picture that this one is most like; None where there is none."""
        if not len(self.looks):
            return None
        own = look_of(picture)
        likeness = np.maximum(self.looks @ own, self.looks @ own.reshape(SIDE, SIDE)[:, ::-1].ravel())
        best = int(likeness.argmax())
        return Nearest(best, float(1 - likeness[best]))

    def nearness(self, picture: Image.Image) -> float:
        """Distance to the nearest training picture in shares of `usual`; 0: it is that picture.

        -1 where there is nothing to compare with.
        """
        nearest = self.nearest(picture)
        return nearest.distance / self.usual if nearest and self.usual else -1.0

    @cached_property
    def usual(self) -> float:
        """Median distance of a training picture from the one most like it; 0 for fewer than two."""
        if len(self.looks) < 2:
            return 0.0
        likeness = self.looks @ self.looks.T
        np.fill_diagonal(likeness, -1)
        return float(np.median(1 - likeness.max(1)))


def _read(path: Path) -> GreyPicture | None:
    try:
        return look_of(Image.fromarray(load_pixels(path)))
    except UserError:
        return None
