"""Checks of what captions and sample prompts hold: weights that cannot be read, words that are cut off."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from trainer.data.caption_tokens import known_count, token_count
from trainer.data.captions import extension
from trainer.data.folders import TrainImage
from trainer.data.prompt_attention import parse_weights
from trainer.families.table import named_by
from trainer.plan.sample_prompts import SamplePrompt, prompts
from trainer.preflight.looks import some
from trainer.problems import Problem, block, hint, some_names
from trainer.settings import TRAINING, Captions, Settings

OTHER_COMMAS = re.compile("[\u3001\uff0c\uff64]")
"""Ideographic, full-width, half-width: what a Japanese or Chinese keyboard gives for a comma."""
LONGEST_TAG = 20
"""Characters: a longer part is a part of a sentence."""
LENGTHS: tuple[int, ...] = TRAINING["max_token_length"].choices


def check(settings: Settings, images: Sequence[TrainImage], most: int | None) -> Iterator[Problem]:
    """Problems of captions and sample prompts. `most`: how many captions are looked at anew (None: all)."""
    given = settings.captions.caption_extension
    if "/" in given or "\\" in given:
        fixed = extension(given)
        values = {"value": given[:60], "fixed": fixed}
        yield block("caption_extension", "preflight.extension_path", {"caption_extension": fixed}, **values)
    if settings.captions.weighted_captions:
        yield from _check_weights(images)
    yield from _check_lengths(settings.captions, images, most)
    if settings.captions.shuffle_caption:
        yield from _check_commas(images)
    sample_prompts = prompts(settings.sampling.sample_prompts, named_by(settings.model))
    yield from _check_prompts(settings.captions, sample_prompts)


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
    counted = some(maybe, most, lambda image: known_count(image.caption) is not None)
    lengths = [(token_count(image.caption), image) for image in counted]
    long = [(count, image) for count, image in lengths if count > limit]
    if long:
        longest = max(count for count, _ in long)
        fits = next((length for length in LENGTHS if length >= longest), None)
        fix = {"max_token_length": LENGTHS[-1] if fits is None else fits} if limit < LENGTHS[-1] else None
        values = {"count": f"{len(long):,}", "names": _names([image for _, image in long])}
        yield hint("max_token_length", "preflight.caption_long", fix, limit=limit, longest=longest, **values)


def _check_commas(images: Sequence[TrainImage]) -> Iterator[Problem]:
    """Tags that are parted by another comma than the one that parts tags."""
    joined = [image for image in images if _is_joined(image.caption)]
    if joined:
        values = {"count": f"{len(joined):,}", "names": _names(joined)}
        yield hint("shuffle_caption", "preflight.caption_commas", None, **values)


def _is_joined(caption: str) -> bool:
    """Whether it looks like tags, not like a sentence, and the only commas are Japanese or Chinese."""
    parts = OTHER_COMMAS.split(caption.strip())
    return (
        len(parts) > 1
        and "," not in caption
        and not any(len(part) > LONGEST_TAG or "。" in part for part in parts)
    )


def _check_prompts(captions: Captions, lines: Sequence[SamplePrompt]) -> Iterator[Problem]:
    """Sample prompts are read as captions are: weights included, and not beyond the same length."""
    limit = captions.max_token_length
    for text in dict.fromkeys(text for line in lines for text in (line.prompt, line.negative)):
        values = {"text": text[:60]}
        if captions.weighted_captions and not _has_weights(text):
            yield block("sample_prompts", "preflight.sample_weights", None, **values)
        elif len(text.encode()) > limit and (count := token_count(text)) > limit:
            yield hint("sample_prompts", "preflight.sample_long", None, limit=limit, count=count, **values)


def _names(images: Sequence[TrainImage]) -> list[str]:
    return some_names([f"{image.folder}/{image.path.name}" for image in images])
