"""Pictures that are kept back from training, so that a run can be judged by them ("Validation split")."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from trainer.data.folders import TrainImage
from trainer.settings import Settings


class HeldOut(NamedTuple):
    """Pictures by their use."""

    learned: tuple[TrainImage, ...]
    held_out: tuple[TrainImage, ...]
    """Each file once, whatever its repeats and in how many datasets it is."""


def split_of(settings: Settings, images: Sequence[TrainImage]) -> HeldOut:
    """What a run learns and what it keeps back ("Validation split", "Validation seed")."""
    return hold_out(images, settings.validation.validation_split, seed_of_split(settings))


def seed_of_split(settings: Settings) -> int:
    """What decides which pictures are kept back; under the same one a smaller share is part of a larger."""
    seed = settings.validation.validation_seed
    return (settings.length.seed if seed is None else seed) or 0


def hold_out(images: Sequence[TrainImage], share: float, seed: int) -> HeldOut:
    """Hold back a share of the pictures' files (rounded, at least one), evenly from all folders.

    No folder loses its last picture. Which ones follows from the seed and each file's folder and name alone:
    a picture more or less changes little of the choice.
    """
    held = _chosen(images, share, seed) if share else frozenset[Path]()
    once = {image.path: image for image in images if image.path in held}
    return HeldOut(tuple(image for image in images if image.path not in held), tuple(once.values()))


def _chosen(images: Sequence[TrainImage], share: float, seed: int) -> frozenset[Path]:
    folders: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(image.path for image in images):
        folders[path.parent].append(path)
    wanted = max(1, round(share * sum(map(len, folders.values()))))
    return frozenset(
        path
        for folder, count in _counts(
            {folder: len(files) for folder, files in folders.items()}, wanted
        ).items()
        for path in sorted(folders[folder], key=lambda path: _lot(path, seed))[:count]
    )


def _counts(sizes: dict[Path, int], wanted: int) -> dict[Path, int]:
    """How many of each folder: by its size, what is left over to the largest remainders."""
    total = sum(sizes.values())
    exact = {folder: wanted * size / total for folder, size in sizes.items()}
    counts = {folder: min(int(exact[folder]), size - 1) for folder, size in sizes.items()}
    for folder in sorted(sizes, key=lambda folder: (int(exact[folder]) - exact[folder], str(folder))):
        if sum(counts.values()) < wanted and counts[folder] < sizes[folder] - 1:
            counts[folder] += 1
    return counts


def _lot(path: Path, seed: int) -> bytes:
    """A picture's lot."""
    return hashlib.blake2b(f"{seed}/{path.parent.name}/{path.name}".encode(errors="replace")).digest()
