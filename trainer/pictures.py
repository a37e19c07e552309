"""The pixels of a training picture: load, turn upright, scale, crop, flip, change colours.

Scaling is what the reference does, to the last bit: the mean over the covered area when a picture
shrinks, Lanczos when it grows.
"""

from __future__ import annotations

import math
import random
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.buckets import Fit, Size
from trainer.errors import UserError
from trainer.images import orientation

Pixels = NDArray[np.uint8]
"""(height, width, 3), red green blue, 0 to 255."""
UPRIGHT = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_270,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_90,),
}
"""How a picture is turned upright, by its EXIF orientation."""
HUE_RANGE = 16.0
"""Degrees by which "Color augmentation" turns the hue at most, as the reference does."""


def load_pixels(path: Path) -> Pixels:
    """A picture, upright and in RGB; see-through parts become white, of an animation it is the first frame.

    Raises UserError naming the file where it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                turns = UPRIGHT.get(orientation(picture), ())
                flat = _rgb(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError("pictures.unreadable", "train_data_dir", path=str(path), error=str(error)) from error
    for turn in turns:
        flat = flat.transpose(turn)
    return np.asarray(flat)


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode == "I":  # 16 bits of grey: Pillow would clip them
        grey = np.asarray(picture, dtype=np.uint32)
        return Image.fromarray((grey // 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in picture.info or picture.mode in {"RGBA", "LA", "PA", "La", "RGBa"}:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")


def resize(pixels: Pixels, size: Size) -> Pixels:
    """Scaled to (width, height)."""
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    if width >= size[0] and height >= size[1]:
        shrunk = _mean_over_rows(_mean_over_rows(pixels, size[1]).swapaxes(0, 1), size[0]).swapaxes(0, 1)
        return np.floor(shrunk + 0.5).astype(np.uint8)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _mean_over_rows(values: NDArray[np.generic], rows: int) -> NDArray[np.float32]:
    """Fewer rows: each the mean of those it covers, rows at the rim counting by their share."""
    scale = len(values) / rows
    result = np.empty((rows, *values.shape[1:]), np.float32)
    for row in range(rows):
        start, end = row * scale, (row + 1) * scale
        first, last = int(start + 1e-6), min(len(values), math.ceil(end - 1e-6))
        edges = np.clip(np.arange(first, last + 1), start, end)
        result[row] = np.tensordot((np.diff(edges) / scale).astype(np.float32), values[first:last], 1)
    return result


def crop(pixels: Pixels, bucket: Size, left: int, top: int) -> Pixels:
    """The part of `bucket` size at (left, top)."""
    return pixels[top : top + bucket[1], left : left + bucket[0]]


def random_corner(fit: Fit, rng: random.Random) -> tuple[int, int]:
    """Left and top of a crop anywhere ("Random crop instead of center crop")."""
    left = rng.randint(0, fit.spare[0]) if fit.spare[0] else 0
    top = rng.randint(0, fit.spare[1]) if fit.spare[1] else 0
    return left, top


def turn_hue(pixels: Pixels, degrees: float) -> Pixels:
    """Every colour turned on the colour wheel; brightness (of HSV) and saturation stay."""
    rgb = pixels.astype(np.float32)
    high, low = rgb.max(axis=2), rgb.min(axis=2)
    chroma = high - low
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    safe = np.where(chroma == 0, 1, chroma)
    sixths = np.select(
        [chroma == 0, high == red, high == green],
        [np.zeros_like(high), (green - blue) / safe % 6, (blue - red) / safe + 2],
        (red - green) / safe + 4,
    )
    sixths = (sixths + degrees / 60) % 6
    channels = [high - chroma * np.clip(2 - np.abs((sixths - at + 3) % 6 - 3), 0, 1) for at in (3, 5, 1)]
    return np.floor(np.stack(channels, axis=2) + 0.5).astype(np.uint8)


def random_hue(rng: random.Random) -> float:
    """Degrees to turn the hue by, this time ("Color augmentation")."""
    return rng.uniform(-HUE_RANGE, HUE_RANGE)


def fitted(
    path: Path,
    fit: Fit,
    *,
    corner: tuple[int, int] | None = None,
    flip: bool = False,
    hue: float = 0.0,
) -> Pixels:
    """A picture of its bucket's size. `corner` is the crop's (left, top); None: the middle."""
    left, top = fit.center if corner is None else corner
    pixels = crop(resize(load_pixels(path), fit.resized), fit.bucket, left, top)
    if hue:
        pixels = turn_hue(pixels, hue)
    return pixels[:, ::-1] if flip else pixels


def to_input(pixels: Pixels) -> NDArray[np.float32]:
    """(3, height, width), -1 to 1: what the VAE reads."""
    values = pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    return np.ascontiguousarray((values - np.float32(0.5)) / np.float32(0.5))
