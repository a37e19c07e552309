"""Buckets: the picture sizes that are learned, and which pictures go together.

Only pictures of one size fit into a batch, so each is scaled to cover one of a few sizes (its bucket)
and cropped to it.
"""

from __future__ import annotations

import math
import random
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from trainer.settings import LONGEST_SIDE

Size = tuple[int, int]
"""Width and height, or left and top, in pixels."""


class SizeTooLargeError(ValueError):
    """A side of more than LONGEST_SIDE pixels."""


def resolution(text: str) -> Size:
    """(width, height) of "Max resolution": "512" or "512,768". Raises ValueError for anything else."""
    parts = unicodedata.normalize("NFKC", text).lower().replace("x", ",").replace("、", ",").split(",")
    numbers = [int(part) for part in parts]
    if len(numbers) > 2 or min(numbers) < 1:
        raise ValueError(text)
    if max(numbers) > LONGEST_SIDE:
        raise SizeTooLargeError(text)
    return numbers[0], numbers[-1]


def limits(min_size: int, max_size: int, step: int) -> Size:
    """Smallest and largest side as multiples of `step`: the one rounded down, the other up."""
    return min_size // step * step, -(-max_size // step) * step


def make_buckets(resolution: Size, min_size: int, max_size: int, step: int) -> list[Size]:
    """All sizes with sides in `min_size` … `max_size` that are multiples of `step` and hold at most as
    many pixels as `resolution`: for each width the tallest, both ways round, and the square. Sorted.
    """
    area = resolution[0] * resolution[1]
    square = int(math.sqrt(area) // step) * step
    sizes = {(square, square)}
    for width in range(min_size, max_size + 1, step):
        height = min(max_size, area // width // step * step)
        if height >= min_size:
            sizes |= {(width, height), (height, width)}
    return sorted(sizes)


@dataclass(frozen=True)
class Fit:
    """How a picture gets into its bucket: scaled to `resized`, then cropped to `bucket`."""

    bucket: Size
    resized: Size

    @property
    def spare(self) -> Size:
        """Pixels in width and height that are cropped away."""
        return self.resized[0] - self.bucket[0], self.resized[1] - self.bucket[1]

    @property
    def center(self) -> Size:
        """Left and top of the middle crop."""
        return self.spare[0] // 2, self.spare[1] // 2

    def bars(self, width: int, height: int, *, flip: bool = False) -> Size:
        """Width of the bars left of and above a picture of this size, were it fitted inside its bucket.

        This is what the reference tells SDXL of the crop, though the picture is scaled to cover the bucket
        and cut on the other axis; `flip`: as it tells it of the mirrored picture.
        """
        across, down = self.bucket
        ratio = width / height
        inside = (down * ratio, down) if across / down > ratio else (across, across / ratio)
        left, top = (across - inside[0]) // 2, (down - inside[1]) // 2
        return int(across - (left + inside[0]) if flip else left), int(top)


@dataclass(frozen=True)
class BucketRule:
    """Which bucket a picture gets, by the settings."""

    resolution: Size
    """"Max resolution"."""
    enable: bool = True
    """"Enable buckets"; off: there is one bucket, of size `resolution`."""
    min_size: int = 256
    """"Minimum bucket resolution"."""
    max_size: int = 1024
    """"Maximum bucket resolution"."""
    step: int = 64
    """"Bucket resolution steps"."""
    no_upscale: bool = False
    """"Don't upscale bucket resolution": no picture is enlarged; min_size and max_size do not count."""

    @cached_property
    def sizes(self) -> list[Size]:
        """The buckets there are; with `no_upscale` they follow from the pictures instead."""
        if not self.enable:
            return [self.resolution]
        return make_buckets(self.resolution, *limits(self.min_size, self.max_size, self.step), self.step)

    def fit(self, width: int, height: int) -> Fit:
        """Bucket and scaled size of a picture."""
        if self.enable and self.no_upscale:
            return self._fit_without_enlarging(width, height)
        bucket = self._closest(width, height)
        by_height = width / height > bucket[0] / bucket[1]
        scale = bucket[1] / height if by_height else bucket[0] / width
        return Fit(bucket, (_round(width * scale), _round(height * scale)))

    def _closest(self, width: int, height: int) -> Size:
        """The size itself where it is a bucket, else the first bucket of the closest aspect ratio."""
        if (width, height) in self.sizes:
            return width, height
        return min(self.sizes, key=lambda size: abs(size[0] / size[1] - width / height))

    def _fit_without_enlarging(self, width: int, height: int) -> Fit:
        area = self.resolution[0] * self.resolution[1]
        resized = self._shrunk(width, height, area) if width * height > area else (width, height)
        bucket = resized[0] // self.step * self.step, resized[1] // self.step * self.step
        return Fit(bucket, resized) if min(bucket) > 0 else self._fit_thin(width, height, area)

    def _shrunk(self, width: int, height: int, area: int) -> Size:
        """Scaled to about `area` pixels, with one side a multiple of `step`: the side that keeps the
        aspect ratio better.
        """
        aspect = width / height
        ideal_width = math.sqrt(area * aspect)
        by_width, by_height = self._multiple(ideal_width), self._multiple(area / ideal_width)
        height_of_width, width_of_height = (
            self._multiple(by_width / aspect),
            self._multiple(by_height * aspect),
        )
        if min(by_width, by_height, height_of_width, width_of_height) == 0:
            return 0, 0
        if abs(by_width / height_of_width - aspect) < abs(width_of_height / by_height - aspect):
            return by_width, _round(by_width / aspect)
        return _round(by_height * aspect), by_height

    def _multiple(self, side: float) -> int:
        return _round(side) // self.step * self.step

    def _fit_thin(self, width: int, height: int, area: int) -> Fit:
        """A picture with a side under one step: the one case in which it is enlarged, to one step."""
        scale = self.step / min(width, height)
        resized = max(self.step, _round(width * scale)), max(self.step, _round(height * scale))
        longest = max(self.step, area // self.step // self.step * self.step)
        bucket = tuple(min(longest, side // self.step * self.step) for side in resized)
        return Fit((bucket[0], bucket[1]), resized)


def _round(value: float) -> int:
    return int(value + 0.5)


def epoch_batches(buckets: Iterable[tuple[Sequence[int], int]], rng: random.Random) -> list[tuple[int, ...]]:
    """The batches of one epoch, in their order.

    `buckets` holds for each bucket the indices of its pictures, an index as often as the picture
    repeats, and its batch size. Pictures are shuffled within their bucket, then the batches of all buckets
    are shuffled; the last batch of a bucket may be smaller. The order follows from `rng` alone.
    """
    batches: list[tuple[int, ...]] = []
    for bucket, batch_size in buckets:
        order = list(bucket)
        rng.shuffle(order)
        batches += (tuple(order[start : start + batch_size]) for start in range(0, len(order), batch_size))
    rng.shuffle(batches)
    return batches


def epoch_rng(seed: int, epoch: int) -> random.Random:
    """The source of an epoch's order: the same for the same seed and epoch, however the run got there."""
    return random.Random(f"{seed}/{epoch}")


def share(batches: Sequence[tuple[int, ...]], rank: int, processes: int) -> Sequence[tuple[int, ...]]:
    """The batches of one of several processes, out of those that make one optimizer step."""
    return batches[rank::processes]
