"""The training pictures as batches, in the order and with the chances that follow from the seed.

Everything random about a batch comes from (seed, epoch, batch), so a run that continues, or one with other
numbers of workers, sees the same pictures and captions.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.utils import data as torch_data

from trainer.data import pixels as pictures
from trainer.data.buckets import Fit, Size, epoch_batches, epoch_rng
from trainer.data.datasets import Dataset, Subset, fit_of, mask_files, subset_of
from trainer.data.folders import TrainImage
from trainer.errors import UserError
from trainer.models.base import Framing
from trainer.training.position import StepGroup


@dataclass(frozen=True)
class Batch:
    """Pictures that are learned from at once; all of one size."""

    captions: tuple[str, ...]
    loss_weights: Tensor
    """(B,): "Prior loss weight" for regularisation pictures, else 1."""
    images: tuple[int, ...]
    """Which pictures, as indices into the run's list."""
    flipped: tuple[bool, ...]
    framing: Framing
    pixels: Tensor | None = None
    """(B, 3, H, W), -1 to 1; None where latents are cached."""
    masks: Tensor | None = None
    """(B, 1, h, w), 0 to 1: what of the pictures is learned ("Masked loss"); None: all."""


@dataclass(frozen=True)
class Unreadable:
    """Why there is no batch; becomes a UserError in the process that trains."""

    code: str
    setting: str
    values: dict[str, Any]


@dataclass(frozen=True)
class TrainingData(torch_data.Dataset[Batch]):
    """The pictures of a run and the rules by which they become batches."""

    images: Sequence[TrainImage]
    """Each comes `repeats` times per epoch; regularisation pictures are matched already."""
    datasets: Sequence[Dataset]
    """The rules; a picture's `subset` says which are its own."""
    seed: int
    latent_factor: int
    """Pixels of a picture's side per one of its latents' (and of its mask's)."""
    with_pixels: bool = True
    """False: latents are cached, only captions are needed."""
    accumulate: int = 1
    """Batches per step; with `total_steps` it counts where captions grow with the steps."""
    total_steps: int = 0
    workers: int = 0
    """"Max num workers for DataLoader"."""
    persistent: bool = False
    """"Persistent data loader": workers live on from epoch to epoch."""
    fits: Sequence[Fit] = field(init=False)
    """Bucket of each picture."""
    masks: Sequence[Path | None] = field(init=False)
    """Each picture's mask, or None where its own opacity says it."""

    def __post_init__(self) -> None:
        # Once: every epoch, worker and cache asks for the same buckets.
        object.__setattr__(self, "fits", [fit_of(self.datasets, image) for image in self.images])
        object.__setattr__(self, "masks", mask_files(self.datasets, self.images))
        self._remember()

    def _remember(self) -> None:
        # Two: workers read ahead into the next epoch. It is no field, since a cache cannot be pickled.
        object.__setattr__(self, "_order", lru_cache(maxsize=2)(self._make_order))

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_order"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._remember()

    def order(self, epoch: int) -> list[tuple[int, ...]]:
        """The batches of an epoch: indices of pictures. Every picture comes once per repeat.

        A batch holds pictures of one dataset and one size; the batches of all datasets are mixed.
        """
        return self._order(epoch)  # pyright: ignore[reportAttributeAccessIssue]  # set in _remember

    def _make_order(self, epoch: int) -> list[tuple[int, ...]]:
        buckets: dict[tuple[int, Size], list[int]] = {}
        for index, (image, fit) in enumerate(zip(self.images, self.fits, strict=True)):
            buckets.setdefault((image.subset[0], fit.bucket), []).extend([index] * image.repeats)
        return epoch_batches(
            # Sorted: the order of batches follows from seed and epoch, not from the order of files.
            [(buckets[key], self.datasets[key[0]].batch_size) for key in sorted(buckets)],
            epoch_rng(self.seed, epoch),
        )

    def __getitem__(self, place: tuple[int, int]) -> Batch | Unreadable:  # pyright: ignore[reportIncompatibleMethodOverride]  # a place is (epoch, batch)
        try:
            return self._batch(*place)
        except UserError as error:  # from another process it would come as a text
            return Unreadable(error.message.code, error.setting, dict(error.message.values))

    def _batch(self, epoch: int, number: int) -> Batch:
        indices = self.order(epoch)[number]
        # Of its own: whoever reads this batch, in whatever process, draws the same.
        rng = random.Random(f"{self.seed}/{epoch}/{number}")
        texts = self._captions(epoch, number, rng)
        subsets = [subset_of(self.datasets, self.images[index]) for index in indices]
        # Drawn after the captions, so that `captions` can tell these without the rest.
        flipped = tuple(subset.flip_aug and rng.random() < 0.5 for subset in subsets)
        changes = [self._drawn(index, subset, rng) for index, subset in zip(indices, subsets, strict=True)]
        views = list(zip(indices, changes, flipped, strict=True))
        pixels = torch.stack([self._pixels(*view) for view in views]) if self.with_pixels else None
        masks = None
        if any(subset.masked for subset in subsets):
            masks = torch.stack([self._mask(*view) for view in views])
        weights = torch.tensor([self._loss_weight(index) for index in indices])
        framing = self._framing(indices, flipped)
        return Batch(texts, weights, indices, flipped, framing, pixels, masks)

    def captions(self, epoch: int, number: int) -> tuple[str, ...]:
        """The captions of a batch as they will be learned."""
        return self._captions(epoch, number, random.Random(f"{self.seed}/{epoch}/{number}"))

    def _captions(self, epoch: int, number: int, rng: random.Random) -> tuple[str, ...]:
        """What is drawn for captions is drawn first."""
        order = self.order(epoch)
        # The last step of an epoch may be short: rounded up.
        step = (epoch - 1) * -(-len(order) // self.accumulate) + number // self.accumulate
        images = ((index, subset_of(self.datasets, self.images[index])) for index in order[number])
        return tuple(self._caption(index, subset, rng, epoch, step) for index, subset in images)

    def _framing(self, indices: Sequence[int], flipped: Sequence[bool]) -> Framing:
        """Sizes and crops of pictures of one bucket."""
        images, target = [self.images[index] for index in indices], self.fits[indices[0]].bucket
        sizes = [(image.width, image.height) for image in images]
        # The reference knows the crop with buckets or cached latents, and leaves it at 0 elsewhere.
        by_bars = self.datasets[images[0].subset[0]].rule.enable or not self.with_pixels
        corners = [
            told_corner(self.fits[index], size, flip=flip, by_bars=by_bars)
            for index, size, flip in zip(indices, sizes, flipped, strict=True)
        ]
        return Framing(sizes, corners, target)

    def _caption(self, index: int, subset: Subset, rng: random.Random, epoch: int, step: int) -> str:
        return subset.captions.process(
            self.images[index].caption, rng, epoch=epoch, step=step, total_steps=self.total_steps
        )

    def _loss_weight(self, index: int) -> float:
        image = self.images[index]
        return self.datasets[image.subset[0]].prior_loss_weight if image.is_reg else 1.0

    def _drawn(self, index: int, subset: Subset, rng: random.Random) -> tuple[tuple[int, int] | None, int]:
        """Corner of the crop (None: the middle) and turn of the hue, this time."""
        corner = pictures.random_corner(self.fits[index], rng) if subset.random_crop else None
        return corner, pictures.random_hue(rng) if subset.color_aug else 0

    def _pixels(self, index: int, drawn: tuple[tuple[int, int] | None, int], flip: bool) -> Tensor:
        """(3, H, W) of the bucket, -1 to 1."""
        corner, hue = drawn
        path, fit = self.images[index].path, self.fits[index]
        return torch.from_numpy(
            pictures.to_input(pictures.fitted(path, fit, corner=corner, flip=flip, hue=hue))
        )

    def _mask(self, index: int, drawn: tuple[tuple[int, int] | None, int], flip: bool) -> Tensor:
        """(1, h, w), 0 to 1; all of the picture where its subset has no masks."""
        image, own = self.images[index], self.masks[index]
        mask = None
        if subset_of(self.datasets, image).masked:
            mask = pictures.load_mask(own or image.path, see_through=own is None)
        return torch.from_numpy(
            pictures.fitted_mask(mask, self.fits[index], self.latent_factor, corner=drawn[0], flip=flip)[None]
        )

    def loaded(
        self, groups: Iterable[StepGroup], share: slice = slice(None)
    ) -> Iterator[tuple[StepGroup, list[Batch]]]:
        """The batches of each optimizer step, read ahead by the workers, or the next one by a thread.

        `share`: which of a step's batches this process takes.
        """
        # New workers each epoch as in the reference, or one set for the whole run.
        for part in [list(groups)] if self.persistent else _by_epoch(groups):
            places = [(group.epoch, batch) for group in part for batch in group.batches[share]]
            loader = torch_data.DataLoader(
                self,
                # A place is a whole batch already.
                batch_size=None,
                sampler=places,
                num_workers=self.workers,
                generator=torch.Generator(),  # or the loader would draw from the training's random numbers
            )
            ahead = self.with_pixels and not self.workers  # captions alone take no time
            batches = read_ahead(iter(loader)) if ahead else iter(loader)
            for group in part:
                yield group, [_readable(next(batches)) for _ in group.batches[share]]


_T = TypeVar("_T")


def read_ahead(items: Iterator[_T]) -> Iterator[_T]:
    """The same items, each asked for in a thread while the one before it is used."""
    done = object()
    reader = ThreadPoolExecutor(1, "reading")
    try:
        coming = reader.submit(next, items, done)
        while (item := coming.result()) is not done:
            coming = reader.submit(next, items, done)
            yield cast("_T", item)
    finally:
        # Not waited for: what is left behind may be collected by the very thread that reads.
        reader.shutdown(wait=False, cancel_futures=True)


def told_corner(fit: Fit, size: Size, *, flip: bool, by_bars: bool) -> Size:
    """Left and top of the crop as a model is told them; `by_bars` False: no buckets, and nothing cached."""
    if by_bars:
        return fit.bars(*size, flip=flip)
    return (fit.bucket[0] if flip else 0), 0  # as the reference, which leaves the crop at 0 there


def _readable(batch: Batch | Unreadable) -> Batch:
    if isinstance(batch, Unreadable):
        raise UserError(batch.code, batch.setting, **batch.values)
    return batch


def _by_epoch(groups: Iterable[StepGroup]) -> Iterator[list[StepGroup]]:
    part: list[StepGroup] = []
    for group in groups:
        if part and group.epoch != part[0].epoch:
            yield part
            part = []
        part.append(group)
    if part:
        yield part
