"""The training pictures as batches, in the order and with the chances that follow from the seed.

Everything random about a batch comes from (seed, epoch, batch), so a run that continues, or one with other
numbers of workers, sees the same pictures and captions.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainer.data import captions
from trainer.data import pixels as pictures
from trainer.data.buckets import Fit, epoch_batches, epoch_rng
from trainer.data.folders import TrainImage
from trainer.errors import UserError
from trainer.training.position import Group


@dataclass(frozen=True)
class Batch:
    """Pictures that are learned from at once; all of one size."""

    captions: tuple[str, ...]
    loss_weights: Tensor
    """(B,): "Prior loss weight" for regularisation pictures, else 1."""
    images: tuple[int, ...]
    """Which pictures, as indices into the run's list."""
    flipped: tuple[bool, ...]
    pixels: Tensor | None = None
    """(B, 3, H, W), -1 to 1; None where latents are cached."""
    masks: Tensor | None = None
    """(B, 1, H/8, W/8), 0 to 1: what of the pictures is learned ("Masked loss"); None: all."""


@dataclass(frozen=True)
class Unreadable:
    """Why there is no batch; becomes a UserError in the process that trains."""

    code: str
    setting: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Changes:
    """What may change about a picture or its caption from one time to the next."""

    shuffle_caption: bool = False
    keep_tokens: int = 0
    caption_dropout_rate: float = 0.0
    caption_dropout_every_n_epochs: int = 0
    random_crop: bool = False
    flip_aug: bool = False
    color_aug: bool = False

    @property
    def vary_captions(self) -> bool:
        """Whether a picture's caption is not always the same."""
        return bool(self.shuffle_caption or self.caption_dropout_rate or self.caption_dropout_every_n_epochs)


@dataclass(frozen=True)
class TrainingData(Dataset[Batch]):
    """The pictures of a run and the rules by which they become batches."""

    images: Sequence[TrainImage]
    """Each comes `repeats` times per epoch; regularisation pictures are matched already."""
    fits: Sequence[Fit]
    """Bucket of each picture."""
    seed: int
    batch_size: int
    changes: Changes
    prior_loss_weight: float = 1.0
    with_pixels: bool = True
    """False: latents are cached, only captions are needed."""
    masks: Sequence[Path | None] | None = None
    """"Masked loss": each picture's mask, or None where its own opacity says it."""
    workers: int = 0
    """"Max num workers for DataLoader"."""
    persistent: bool = False
    """"Persistent data loader": workers live on from epoch to epoch."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_order", lru_cache(maxsize=2)(self._make_order))

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_order"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    def order(self, epoch: int) -> list[tuple[int, ...]]:
        """The batches of an epoch: indices of pictures. Every picture comes once per repeat."""
        return self._order(epoch)  # type: ignore[attr-defined]  # set in __post_init__

    def _make_order(self, epoch: int) -> list[tuple[int, ...]]:
        buckets: dict[tuple[int, int], list[int]] = {}
        for index, (image, fit) in enumerate(zip(self.images, self.fits, strict=True)):
            buckets.setdefault(fit.bucket, []).extend([index] * image.repeats)
        return epoch_batches(
            [buckets[size] for size in sorted(buckets)], self.batch_size, epoch_rng(self.seed, epoch)
        )

    def __getitem__(self, place: tuple[int, int]) -> Batch | Unreadable:  # type: ignore[override]  # a place is (epoch, batch)
        try:
            return self._batch(*place)
        except UserError as error:  # from another process it would come as a text
            return Unreadable(error.message.code, error.setting, dict(error.message.values))

    def _batch(self, epoch: int, number: int) -> Batch:
        indices = self.order(epoch)[number]
        rng = random.Random(f"{self.seed}/{epoch}/{number}")
        texts = tuple(self._caption(index, epoch, rng) for index in indices)
        flipped = tuple(self.changes.flip_aug and rng.random() < 0.5 for _ in indices)
        weights = [self.prior_loss_weight if self.images[index].is_reg else 1.0 for index in indices]
        changes = [self._drawn(index, rng) for index in indices]
        views = list(zip(indices, changes, flipped, strict=True))
        pixels = torch.stack([self._pixels(*view) for view in views]) if self.with_pixels else None
        masks = None if self.masks is None else torch.stack([self._mask(*view) for view in views])
        return Batch(texts, torch.tensor(weights), indices, flipped, pixels, masks)

    def _caption(self, index: int, epoch: int, rng: random.Random) -> str:
        rule = self.changes
        dropped = captions.is_dropped(
            rule.caption_dropout_rate, rule.caption_dropout_every_n_epochs, epoch, rng
        )
        text = self.images[index].caption
        return captions.process(
            text, shuffle=rule.shuffle_caption, keep_tokens=rule.keep_tokens, drop=dropped, rng=rng
        )

    def _drawn(self, index: int, rng: random.Random) -> tuple[tuple[int, int] | None, int]:
        """Corner of the crop (None: the middle) and turn of the hue, this time."""
        corner = pictures.random_corner(self.fits[index], rng) if self.changes.random_crop else None
        return corner, pictures.random_hue(rng) if self.changes.color_aug else 0

    def _pixels(self, index: int, drawn: tuple[tuple[int, int] | None, int], flip: bool) -> Tensor:
        corner, hue = drawn
        path, fit = self.images[index].path, self.fits[index]
        return torch.from_numpy(
            pictures.to_input(pictures.fitted(path, fit, corner=corner, flip=flip, hue=hue))
        )

    def _mask(self, index: int, drawn: tuple[tuple[int, int] | None, int], flip: bool) -> Tensor:
        own = None if self.masks is None else self.masks[index]
        mask = pictures.load_mask(own or self.images[index].path, see_through=own is None)
        return torch.from_numpy(
            pictures.fitted_mask(mask, self.fits[index], corner=drawn[0], flip=flip)[None]
        )

    def loaded(
        self, groups: Iterable[Group], share: slice = slice(None)
    ) -> Iterator[tuple[Group, list[Batch]]]:
        """The batches of each optimizer step, read ahead by the workers where there are any.

        `share`: which of a step's batches this process takes.
        """
        for part in [list(groups)] if self.persistent else _by_epoch(groups):
            places = [(group.epoch, batch) for group in part for batch in group.batches[share]]
            loader = DataLoader(
                self,
                batch_size=None,
                sampler=places,
                num_workers=self.workers,
                generator=torch.Generator(),  # or the loader would draw from the training's random numbers
            )
            batches = iter(loader)
            for group in part:
                yield group, [_readable(next(batches)) for _ in group.batches[share]]


def _readable(found: Batch | Unreadable) -> Batch:
    if isinstance(found, Unreadable):
        raise UserError(found.code, found.setting, **found.values)
    return found


def _by_epoch(groups: Iterable[Group]) -> Iterator[list[Group]]:
    part: list[Group] = []
    for group in groups:
        if part and group.epoch != part[0].epoch:
            yield part
            part = []
        part.append(group)
    if part:
        yield part
