"""Checks of "Masked loss": no masks, masks that leave nothing, cannot be read, or have another shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainer.data import pixels
from trainer.data.buckets import Fit
from trainer.data.datasets import Dataset, fit_of, mask_files, subset_of
from trainer.data.folders import TrainImage
from trainer.errors import UserError
from trainer.preflight.looks import some
from trainer.problems import Problem, block, hint, some_names

MaskFault = Literal["", "empty", "faint", "unreadable", "shape"]
SAME_SHAPE = 0.02
"""Share by which a mask's height, at its picture's width, may differ: whole pixels are round numbers."""
FAINT = 26
"""Of 255: a mask whose brightest part is below this was painted with 1 for white, or is black to the eye."""
_known: dict[Mask, MaskFault] = {}


@dataclass(frozen=True)
class Mask:
    """A picture and what says which part of it is learned; as it is now."""

    image: TrainImage
    path: Path
    """The picture itself where its own opacity says it."""
    fit: Fit | None
    """What of it is learned; None: another part each time."""
    stamp: tuple[int, int]

    @property
    def own(self) -> bool:
        """Whether the mask is a file of its own."""
        return self.path != self.image.path

    @property
    def shown(self) -> str:
        """The picture's name, and the mask's."""
        name = f"{self.image.folder}/{self.image.path.name}"
        return f"{name} ({self.path.parent.name}/{self.path.name})" if self.own else name


def check(datasets: Sequence[Dataset], images: Sequence[TrainImage], most: int | None) -> Iterator[Problem]:
    """Problems of masks. `most`: how many of them are looked at anew (None: all)."""
    masks = _masks(datasets, images)
    faults: dict[MaskFault, list[Mask]] = {}
    for mask in some(masks, most, _known.__contains__):
        faults.setdefault(_verdict(mask), []).append(mask)
    if bad := faults.get("unreadable"):
        yield block("masked_loss", "preflight.masks_unreadable", {"masked_loss": False}, **_told(bad))
    for fault in ("empty", "faint"):
        if found := faults.get(fault):
            tell = block if len(found) == len(images) else hint
            yield tell("masked_loss", f"preflight.masks_{fault}", {"masked_loss": False}, **_told(found))
    if misshapen := faults.get("shape"):
        yield hint("masked_loss", "preflight.masks_shape", None, **_told(misshapen))


def _masks(datasets: Sequence[Dataset], images: Sequence[TrainImage]) -> list[Mask]:
    """The masks that count, of the pictures that have any."""
    masked = [image for image in images if subset_of(datasets, image).masked]
    return [
        Mask(image, own or image.path, _fit(datasets, image), _stamp(own or image.path))
        for image, own in zip(masked, mask_files(datasets, masked), strict=True)
    ]


def _fit(datasets: Sequence[Dataset], image: TrainImage) -> Fit | None:
    return None if subset_of(datasets, image).random_crop else fit_of(datasets, image)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


def _verdict(mask: Mask) -> MaskFault:
    if mask not in _known:
        _known[mask] = _looked_at(mask)
    return _known[mask]


def _looked_at(mask: Mask) -> MaskFault:
    try:
        values = pixels.load_mask(mask.path, see_through=not mask.own)
    except UserError:
        return "unreadable" if mask.own else ""  # a picture is told elsewhere
    if values is None:
        return ""
    height, width = values.shape
    learned = values
    if mask.fit:
        grey = pixels.resize_pixels(values[..., None].repeat(3, axis=2), mask.fit.resized)
        learned = pixels.crop(grey, mask.fit.bucket, *mask.fit.center)
    if learned.max() < FAINT:
        return "faint" if learned.any() else "empty"
    expected = mask.image.height * width / mask.image.width
    return "shape" if abs(height - expected) > max(1, SAME_SHAPE * expected) else ""


def _told(masks: Sequence[Mask]) -> dict[str, Any]:
    return {"count": f"{len(masks):,}", "names": some_names([mask.shown for mask in masks])}
