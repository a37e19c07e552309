"""Checks of what captions and masks hold: weights that cannot be read, words cut off, empty masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from trainer.data.caption_tokens import known_count, token_count
from trainer.data.datasets import Dataset
from trainer.data.folders import TrainImage
from trainer.data.prompt_attention import parse_weights
from trainer.problems import Problem, block, hint, names
from trainer.settings import SETTINGS, Captions, Settings

LENGTHS: tuple[int, ...] = SETTINGS["max_token_length"].choices
AT_A_LOOK = 200
"""Captions whose tokens, and pictures whose masks, are looked at anew at one look at the form; the trainer
and the command line look at all before a run."""


def check(
    settings: Settings, datasets: Sequence[Dataset], images: Sequence[TrainImage], most: int | None
) -> Iterator[Problem]:
    """Problems of captions and masks. `most`: how many of each are looked at anew (None: all)."""
    if settings.captions.weighted_captions:
        yield from _check_weights(images)
    yield from _check_lengths(settings.captions, images, most)
    if settings.images.masked_loss:
        yield from _check_masks(datasets, images, most)


def _check_weights(images: Sequence[TrainImage]) -> Iterator[Problem]:
    bad = [image for image in images if not _has_weights(image.caption)]
    if bad:
        values = {"count": f"{len(bad):,}", "names": _names(bad)}
        yield block("weighted_captions", "preflight.caption_weights", {"weighted_captions": False}, **values)


def _has_weights(caption: str) -> bool:
    try:
        parse_weights(caption)
    except ValueError:
        return False
    return True


def _check_lengths(captions: Captions, images: Sequence[TrainImage], most: int | None) -> Iterator[Problem]:
    """Tokens are at most as many as letters and marks, so most captions need no counting."""
    limit = captions.max_token_length
    maybe = [image for image in images if len(image.caption.encode()) > limit]
    counted = _some(maybe, most, lambda image: known_count(image.caption) is not None)
    lengths = [(token_count(image.caption), image) for image in counted]
    long = [(count, image) for count, image in lengths if count > limit]
    if long:
        longest = max(count for count, _ in long)
        fits = next((length for length in LENGTHS if length >= longest), None)
        fix = {"max_token_length": LENGTHS[-1] if fits is None else fits} if limit < LENGTHS[-1] else None
        values = {"count": f"{len(long):,}", "names": _names([image for _, image in long])}
        yield hint("max_token_length", "preflight.caption_long", fix, limit=limit, longest=longest, **values)


def _some(
    images: Sequence[TrainImage], most: int | None, is_known: Callable[[TrainImage], bool]
) -> list[TrainImage]:
    """Those that are known already, and at most `most` others."""
    if most is None:
        return list(images)
    known = [image for image in images if is_known(image)]
    return known + [image for image in images if not is_known(image)][:most]


_empty: dict[tuple[Path, int, int], bool] = {}


def _check_masks(
    datasets: Sequence[Dataset], images: Sequence[TrainImage], most: int | None
) -> Iterator[Problem]:
    """Pictures that are see-through everywhere, where the picture itself is the mask: nothing is learned."""
    own = [image for image in images if not _mask_folder(datasets, image)]
    empty = [image for image in _some(own, most, lambda image: _stamp(image) in _empty) if _is_empty(image)]
    if not empty:
        return
    values = {"count": f"{len(empty):,}", "names": _names(empty)}
    tell = block if len(empty) == len(images) else hint
    yield tell("masked_loss", "preflight.masks_empty", {"masked_loss": False}, **values)


def _mask_folder(datasets: Sequence[Dataset], image: TrainImage) -> object:
    dataset, subset = image.subset
    return datasets[dataset].subsets[subset].mask_folder


def _stamp(image: TrainImage) -> tuple[Path, int, int]:
    try:
        stat = image.path.stat()
    except OSError:
        return image.path, 0, 0
    return image.path, stat.st_mtime_ns, stat.st_size


def _is_empty(image: TrainImage) -> bool:
    stamp = _stamp(image)
    if stamp not in _empty:
        try:
            with Image.open(image.path) as picture:
                see_through = "A" in picture.getbands() or "transparency" in picture.info
                _empty[stamp] = see_through and not picture.convert("RGBA").getchannel("A").getbbox()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            _empty[stamp] = False  # told elsewhere
    return _empty[stamp]


def _names(images: Sequence[TrainImage]) -> str:
    return names([f"{image.folder}/{image.path.name}" for image in images])
