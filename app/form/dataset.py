"""The dataset plan: which pictures are learned at which size, with thumbnails."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from app.form.values import typed_values
from app.paths import Roots
from app.pictures import small_view
from app.texts import word
from trainer.data.buckets import Size
from trainer.data.dataset_file import scans
from trainer.data.datasets import Dataset, Subset, datasets_of, fit_of
from trainer.data.folders import TrainImage
from trainer.data.held_out import split_of
from trainer.errors import UserError
from trainer.families.table import named_by
from trainer.kohya import additional
from trainer.messages import Language, comma
from trainer.preflight.pictures import no_buckets_possible
from trainer.settings import Settings

SHOWN = 10
MOST_BUCKETS = 12
STRIP_SIDE = 104  # pixels: twice the slot of 52, for fine screens


def dataset(
    values: Mapping[str, Any], language: Language, roots: Roots | None = None
) -> dict[str, Any] | None:
    """Buckets with up to SHOWN thumbnails each, and the counts above them; None without pictures.

    Pictures outside `roots` (links, a dataset file that names them) count, but are not shown.
    """
    known = typed_values(values)
    settings = additional.applied(Settings.from_flat(known))
    try:
        found, reg = scans(settings.folders, settings.captions)
    except (UserError, ValueError, OSError):
        return None
    rules = datasets_of(settings)
    if not found.images or no_buckets_possible(rules, named_by(settings.model)):
        return None
    images, held_out = split_of(settings, found.images)
    buckets = [buckets_of(rules, number, images) for number in range(len(rules))]
    most = max(len(own) for order in buckets for _, own in order)
    shown = [
        {
            "head": head(rules[number], number, images, language) if at == 0 else None,
            "size": f"{width} × {height}",
            "thumbs": [
                thumb(image, roots) for image in own[:SHOWN]
            ],
            "more": max(0, len(own) - SHOWN),
            "share": len(own) / most,
            "text": bucket_words(own, rules[number], settings, language),
        }
        for number, order in enumerate(buckets)
        for at, ((width, height), own) in enumerate(order)
    ]  # fmt: skip
    return {
        "stats": stats(images, len(shown), len(reg.images), len(held_out), language),
        "buckets": shown[:MOST_BUCKETS],
        "more": max(0, len(shown) - MOST_BUCKETS),
        "without": without(images, language),
    }


def buckets_of(
    rules: Sequence[Dataset], number: int, images: Sequence[TrainImage]
) -> list[tuple[Size, list[TrainImage]]]:
    """A dataset's sizes with their pictures, the fullest first. Raises ValueError for a size that is none."""
    buckets: dict[Size, list[TrainImage]] = {}
    for image in images:
        if image.subset[0] == number:
            buckets.setdefault(fit_of(rules, image).bucket, []).append(image)
    return sorted(buckets.items(), key=lambda item: -len(item[1]))


def head(
    dataset: Dataset, number: int, images: Sequence[TrainImage], language: Language
) -> dict[str, Any] | None:
    """What a dataset file says of one of its datasets; None where there is no file."""
    if not dataset.name:
        return None
    width, height = dataset.rule.resolution
    title = word(
        language, "data.dataset", number=number + 1, size=f"{width} × {height}", batch=dataset.batch_size
    )
    folders: dict[int, list[TrainImage]] = {}
    for image in images:
        if image.subset[0] == number:
            folders.setdefault(image.subset[1], []).append(image)
    return {
        "title": title,
        "folders": [
            [
                f"{own[0].folder}: {len(own):,} × {own[0].repeats}",
                effects(dataset.subsets[at], own[0], language),
            ]
            for at, own in folders.items()
        ],
    }


def effects(subset: Subset, image: TrainImage, language: Language) -> str:
    """What is switched on for a folder, as a dataset file says it."""
    tokens = {"class_tokens": image.class_tokens} if image.class_tokens else {}
    found = {**tokens, **subset.in_effect}
    return comma(language).join(key if value is True else f"{key} = {value}" for key, value in found.items())


def stats(
    images: Sequence[TrainImage], sizes: int, reg: int, held_out: int, language: Language
) -> list[tuple[str, str]]:
    """(figure, what it counts). A picture of several datasets counts once."""
    repeats = sorted({image.repeats for image in images})
    images = list({image.path: image for image in images}.values())
    folders = sorted({image.folder for image in images})
    tokens = sorted({image.class_tokens for image in images})
    captions = sum(image.caption_found for image in images)
    where = folders[0] if len(folders) == 1 else word(language, "data.folders", count=len(folders))
    figures = [
        (f"{len(images):,}", word(language, "data.pictures", where=where)),
        ("× " + " / ".join(map(str, repeats[:3])), word(language, "data.repeats")),
        (str(sizes), word(language, "data.sizes")),
        (f"{captions:,} / {len(images):,}", word(language, "data.captions")),
    ]
    if reg:
        figures.append((f"{reg:,}", word(language, "data.reg")))
    if held_out:
        figures.append((f"{held_out:,}", word(language, "data.held_out")))
    if not captions:
        figures.append((comma(language).join(tokens[:2]), word(language, "data.words")))
    return figures


def bucket_words(images: list[TrainImage], dataset: Dataset, settings: Settings, language: Language) -> str:
    """How many pictures a bucket holds, and how many steps they take per epoch."""
    text = word(language, "data.bucket", count=len(images))
    if settings.length.gradient_accumulation_steps > 1:
        return text
    steps = -(-sum(image.repeats for image in images) // dataset.batch_size)
    return comma(language).join([text, word(language, "data.bucket_steps", count=steps)])


def without(images: Sequence[TrainImage], language: Language) -> str:
    """What pictures without a caption are learned as; "" where all have one."""
    bare = list({image.path: image for image in images if not image.caption_found}.values())
    if not bare:
        return ""
    tokens = comma(language).join(sorted({image.class_tokens for image in bare})[:3])
    return word(language, "data.without", count=len(bare), words=tokens)


def thumb(image: TrainImage, roots: Roots | None) -> dict[str, Any]:
    """A small view of a picture with its caption; blank for one outside the allowed folders."""
    real = roots.allowed(str(image.path.absolute())) if roots else image.path
    shown = {"src": thumbnail_address(real), "caption": image.caption} if real else {"src": "", "caption": ""}
    return {**shown, "name": image.path.name, "found": image.caption_found}


def thumbnail_address(path: Path) -> str:
    """A small JPEG as a data address; "" for a picture that cannot be read."""
    try:
        stat = path.stat()
        return _thumbnail(path, stat.st_mtime_ns, stat.st_size)
    except OSError:
        return ""


@lru_cache(maxsize=2000)
def _thumbnail(path: Path, _changed: int, _size: int) -> str:
    try:
        data = small_view(path, STRIP_SIDE)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
