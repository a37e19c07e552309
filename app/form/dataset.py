"""The dataset plan: which pictures are learned at which size, with thumbnails."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from app.form.values import typed
from app.paths import Roots
from app.pictures import opened
from app.texts import word
from trainer.data.dataset_file import scans
from trainer.data.folders import TrainImage
from trainer.errors import UserError
from trainer.files.paths import cleaned
from trainer.messages import Language
from trainer.plan.run import bucket_rule
from trainer.preflight.pictures import impossible
from trainer.settings import SETTINGS, Settings

SHOWN = 10
MOST_BUCKETS = 12
SIDE = 104  # pixels: twice the slot of 52, for fine screens


def dataset(
    values: Mapping[str, Any], language: Language, roots: Roots | None = None
) -> dict[str, Any] | None:
    """Buckets with up to SHOWN thumbnails each, and the counts above them; None without pictures.

    Pictures outside `roots` (links, a dataset file that names them) count, but are not shown.
    """
    known = {key: typed(key, raw) for key, raw in values.items() if key in SETTINGS}
    settings = cleaned(Settings.from_flat(known))
    try:
        found, reg = scans(settings.folders, settings.captions)
    except (UserError, ValueError, OSError):
        return None
    if not found.images or impossible(settings.images):
        return None
    rule = bucket_rule(settings.images)
    buckets: dict[tuple[int, int], list[TrainImage]] = {}
    for image in found.images:
        buckets.setdefault(rule.fit(image.width, image.height).bucket, []).append(image)
    order = sorted(buckets.items(), key=lambda item: -len(item[1]))
    most = len(order[0][1])
    return {
        "stats": stats(found.images, len(order), len(reg.images), language),
        "buckets": [
            {
                "size": f"{width} × {height}",
                "thumbs": [
                    thumb(image, roots) for image in images[:SHOWN]
                ],
                "more": max(0, len(images) - SHOWN),
                "share": len(images) / most,
                "text": bucket_words(images, settings, language),
            }
            for (width, height), images in order[:MOST_BUCKETS]
        ],
        "more": max(0, len(order) - MOST_BUCKETS),
        "without": without(found.images, language),
    }  # fmt: skip


def stats(
    images: tuple[TrainImage, ...] | list[TrainImage], sizes: int, reg: int, language: Language
) -> list[tuple[str, str]]:
    """(figure, what it counts)."""
    folders = sorted({image.folder for image in images})
    repeats = sorted({image.repeats for image in images})
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
    if not captions:
        figures.append((", ".join(tokens[:2]), word(language, "data.words")))
    return figures


def bucket_words(images: list[TrainImage], settings: Settings, language: Language) -> str:
    """How many pictures a bucket holds, and how many steps they take per epoch."""
    text = word(language, "data.bucket", count=len(images))
    if settings.length.gradient_accumulation_steps > 1:
        return text
    steps = -(-sum(image.repeats for image in images) // settings.length.train_batch_size)
    return word(language, "list").join([text, word(language, "data.bucket_steps", count=steps)])


def without(images: tuple[TrainImage, ...] | list[TrainImage], language: Language) -> str:
    """What pictures without a caption are learned as; "" where all have one."""
    bare = [image for image in images if not image.caption_found]
    if not bare:
        return ""
    tokens = ", ".join(sorted({image.class_tokens for image in bare})[:3])
    return word(language, "data.without", count=len(bare), words=tokens)


def thumb(image: TrainImage, roots: Roots | None) -> dict[str, Any]:
    """A small view of a picture with its caption; blank for one outside the allowed folders."""
    real = roots.allowed(str(image.path.absolute())) if roots else image.path
    shown = {"src": thumbnail(real), "caption": image.caption} if real else {"src": "", "caption": ""}
    return {**shown, "name": image.path.name, "found": image.caption_found}


def thumbnail(path: Path) -> str:
    """A small JPEG as a data address; "" for a picture that cannot be read."""
    try:
        stat = path.stat()
        return _thumbnail(path, stat.st_mtime_ns, stat.st_size)
    except OSError:
        return ""


@lru_cache(maxsize=2000)
def _thumbnail(path: Path, _changed: int, _size: int) -> str:
    try:
        with opened(path) as image:
            image.draft("RGB", (SIDE * 2, SIDE * 2))
            small = ImageOps.exif_transpose(image).convert("RGBA")
            small.thumbnail((SIDE, SIDE))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    ground = Image.new("RGBA", small.size, "white")
    ground.alpha_composite(small)
    data = io.BytesIO()
    ground.convert("RGB").save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
