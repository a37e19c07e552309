"""Pictures as the VAE encodes them, made once and kept in memory or on disk.

The VAE answers with a distribution; as in the reference one sample is drawn from it and kept. What is
drawn follows from the picture's content alone, so latents are the same in every run, with and without
the disk, whatever the batch size.

On disk each picture has a small file in a folder of ours, never beside the pictures. It knows the
content it was made from, so a picture that was edited is encoded again; and it knows its own numbers by a
hash, so what a power cut or a bad disk has left of them is noticed.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trainer.data.buckets import Fit, Size
from trainer.data.pixels import fitted, to_input
from trainer.errors import StopRequested, UserError
from trainer.files.whole_file import keep
from trainer.models.base import BaseModel

LatentShape = tuple[int, int, int]
"""Channels, height and width of latents."""
LATENTS_FORMAT = "1"
"""Part of every file's name on disk; raised when latents of older versions no longer fit."""
NAMES: tuple[str, ...] = ("latents", "flipped")
"""Tensors in a file."""
Lack = Literal["missing", "stale", "damaged"]
"""Why a picture's latents on disk are not used: none there, another picture, not as they were written."""


@dataclass(frozen=True)
class CachedLatents:
    """Latents of all pictures, (C, h, w) each, float32, as the denoiser reads them."""

    latents: list[Tensor]
    flipped: list[Tensor] = field(default_factory=list)
    """Latents of the pictures seen in a mirror; empty where "Flip augmentation" is on for none."""
    encoded: int = 0
    """How many were made now; the others came from disk."""
    stale: int = 0
    """How many of those were on disk from a picture that has changed since."""
    damaged: int = 0
    """How many of those were on disk, but not as they were written."""
    unkept: int = 0
    """How many of those could not be written to disk."""

    def batch(self, indices: Sequence[int], flipped: Sequence[bool] = ()) -> Tensor:
        """(B, C, h, w) of some pictures; all must be of one size."""
        flips = flipped or [False] * len(indices)
        return torch.stack(
            [
                self.flipped[index] if flip else self.latents[index]
                for index, flip in zip(indices, flips, strict=True)
            ]
        )


@dataclass(frozen=True)
class Store:
    """The folder of latents on disk."""

    folder: Path
    space: str
    """Names the latents (BaseModel.latent_space): those of another space are worth nothing."""
    check_content: bool = True
    """False ("Skip cache check"): files are trusted without looking at the picture."""

    def path(self, picture: Path, fit: Fit) -> Path:
        """The file of a picture in this bucket."""
        # All that latents follow from, but for the content: that stands in the file and may change.
        key = "\0".join(
            (LATENTS_FORMAT, self.space, str(picture.resolve()), str(fit.bucket), str(fit.resized))
        )
        return self.folder / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.safetensors"

    def load(self, picture: Path, fit: Fit, shape: LatentShape, *, flip: bool) -> list[Tensor] | Lack:
        """Latents ([plain] or [plain, mirrored]) of this shape, or why there are none to be used."""
        path = self.path(picture, fit)
        names = NAMES[: 1 + flip]
        try:
            with safe_open(path, framework="pt") as file:
                notes = file.metadata() or {}
                if self.check_content and notes["content"] != content_hash(picture):
                    return "stale"
                # A file without the mirrored ones is from before "Flip augmentation": made again with both.
                latents = [file.get_tensor(name) for name in names if name in file.keys()]  # noqa: SIM118  # no mapping
        except FileNotFoundError:
            return "missing"
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return "damaged"
        if len(latents) < len(names):
            return "missing"
        # A header may be whole and the numbers behind it not: a power cut leaves zeros.
        sums = [notes.get(f"hash_{name}") for name in names]
        if None in sums:  # of a version that wrote none: they may be right, but nobody can tell
            return "missing"
        # The form first: it says whether there is anything to be summed up.
        sound = all(map(partial(_are_latents, shape), latents)) and sums == [*map(numbers_hash, latents)]
        return latents if sound else "damaged"

    def save(self, picture: Path, fit: Fit, latents: Sequence[Tensor]) -> bool:
        """Write a picture's latents (C, h, w), whole or not at all, and say whether that worked.

        A full disk ends no run. Not forced onto the disk file by file: what a power cut damages is noticed
        and made anew.
        """
        notes = {"content": content_hash(picture), "picture": picture.name}
        tensors: dict[str, Tensor] = dict(
            zip(NAMES, (tensor.contiguous() for tensor in latents), strict=False)
        )
        notes |= {f"hash_{name}": numbers_hash(tensor) for name, tensor in tensors.items()}
        return keep(self.path(picture, fit), save(tensors, notes))


def cache_latents(
    model: BaseModel,
    pictures: Sequence[tuple[Path, Fit]],
    *,
    batch_size: int,
    flip: bool | Sequence[bool] = False,
    store: Store | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> CachedLatents:
    """Latents of all pictures, from the store where they are there.

    `batch_size` is how many are encoded at once ("VAE batch size", 0 = "Train batch size"); `flip` asks
    for mirrored ones too, of all or picture by picture. Raises StopRequested between batches, UserError for
    an unreadable picture.
    """
    flips = [flip] * len(pictures) if isinstance(flip, bool) else list(flip)
    # By index, since batches come in the order of buckets.
    done: dict[int, list[Tensor]] = {}
    lacks: Counter[Lack] = Counter()
    unkept = 0
    for index, (path, fit) in enumerate(pictures if store else ()):
        shape = model.latent_shape(fit.bucket)
        stored = store.load(path, fit, shape, flip=flips[index]) if store else "missing"
        if isinstance(stored, list):
            done[index] = stored
        else:
            lacks[stored] += 1
    reused = len(done)
    progress(reused, len(pictures))
    # Encoded together are pictures of one bucket, all mirrored or none: one stack, one pass.
    missing = [(index, (fit.bucket, flips[index])) for index, (_, fit) in enumerate(pictures)]
    for batch in _batches([one for one in missing if one[0] not in done], batch_size):
        if stop_requested():
            raise StopRequested
        encoded = _encode_batch(model, [pictures[index] for index in batch], flips[batch[0]])
        for index, latents in zip(batch, encoded, strict=True):
            done[index] = latents
            if store:
                # At once: what a Stop or a full disk ends is there the next time.
                unkept += not store.save(*pictures[index], latents)
        progress(len(done), len(pictures))
    plain = [done[index][0] for index in range(len(pictures))]
    mirrored = [done[index][-1] for index in range(len(pictures))] if any(flips) else []
    counts = len(pictures) - reused, lacks["stale"], lacks["damaged"], unkept
    return CachedLatents(plain, mirrored, *counts)


def _are_latents(shape: LatentShape, tensor: Tensor) -> bool:
    """Whether a tensor is what `encode_latents` gives: of this shape, float32, numbers throughout."""
    return tensor.shape == shape and tensor.dtype == torch.float32 and bool(tensor.isfinite().all())


def _batches(missing: Sequence[tuple[int, tuple[Size, bool]]], batch_size: int) -> list[list[int]]:
    """Indices in groups of one bucket, mirrored or not."""
    buckets: defaultdict[tuple[Size, bool], list[int]] = defaultdict(list)
    for index, kind in missing:
        buckets[kind].append(index)
    return [
        indices[start : start + batch_size]
        for indices in buckets.values()
        for start in range(0, len(indices), batch_size)
    ]


def _encode_batch(model: BaseModel, pictures: Sequence[tuple[Path, Fit]], flip: bool) -> list[list[Tensor]]:
    """For each picture [plain] or [plain, mirrored] latents (C, h, w), on the CPU."""
    pixels = torch.stack([torch.from_numpy(to_input(fitted(path, fit))) for path, fit in pictures])
    # One per picture: how many are encoded together changes nothing.
    noise = torch.stack([_noise(path, model.latent_shape(fit.bucket)) for path, fit in pictures])
    versions = [model.encode_latents(pixels, noise).cpu()]
    if flip:
        # Encoded, not turned round: a VAE does not answer a mirrored picture with mirrored latents.
        versions.append(model.encode_latents(pixels.flip(-1), noise).cpu())
    # Clones: a view would keep the whole batch in memory.
    return [[version[number].clone() for version in versions] for number in range(len(pictures))]


def _noise(picture: Path, shape: LatentShape) -> Tensor:
    """Of this shape: which sample of the VAE's distribution a picture gets; follows from its content."""
    generator = torch.Generator().manual_seed(int(content_hash(picture)[:15], 16))
    return torch.randn(shape, generator=generator)


def numbers_hash(tensor: Tensor) -> str:
    """Hash of a tensor's numbers, of any shape, as they stand in a file."""
    data = tensor.detach().cpu().contiguous().view(torch.uint8).numpy()
    return hashlib.blake2b(data.tobytes(), digest_size=16).hexdigest()


def content_hash(picture: Path) -> str:
    """Hash of a file's bytes. Raises UserError where it cannot be read (any more)."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with picture.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        values = {"path": str(picture), "error": str(error)}
        raise UserError("pictures.unreadable", "train_data_dir", **values) from error
    return digest.hexdigest()
