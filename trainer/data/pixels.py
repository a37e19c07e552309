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

from trainer.data.buckets import Fit, Size
from trainer.data.picture_files import orientation
from trainer.errors import UserError

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
HUE_STEPS = 8
"""Steps of two degrees by which "Color augmentation" turns the hue at most, as the reference does."""


def load_pixels(path: Path) -> Pixels:
    """A picture, upright and in RGB; see-through parts become white, of an animation it is the first frame.

    Raises UserError naming the file where it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                turns = UPRIGHT.get(orientation(picture), ())
                flat = flattened(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError("pictures.unreadable", "train_data_dir", path=str(path), error=str(error)) from error
    for turn in turns:
        flat = flat.transpose(turn)
    return np.asarray(flat)


def is_see_through(picture: Image.Image) -> bool:
    """Whether it may have see-through parts."""
    return "transparency" in picture.info or picture.mode in {"RGBA", "LA", "PA", "La", "RGBa"}


def flattened(picture: Image.Image) -> Image.Image:
    """A picture of any kind in RGB: see-through parts white, 16 bits as 8. Raises what Pillow raises."""
    if picture.mode.startswith("I;16") or picture.mode == "I":  # 16 bits of grey: Pillow would clip them
        grey = np.asarray(picture, dtype=np.uint32)
        return Image.fromarray((grey // 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if is_see_through(picture):
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")


def resize_pixels(pixels: Pixels, size: Size) -> Pixels:
    """Scaled to (width, height)."""
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    if width >= size[0] and height >= size[1]:
        shrunk = _mean_over_rows(_mean_over_rows(pixels, size[1]).swapaxes(0, 1), size[0]).swapaxes(0, 1)
        return np.floor(shrunk + 0.5).astype(np.uint8)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _mean_over_rows(values: NDArray[np.uint8] | NDArray[np.float32], rows: int) -> NDArray[np.float32]:
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


def random_hue(rng: random.Random) -> int:
    """Steps of two degrees to turn the hue by, this time ("Color augmentation")."""
    return rng.randint(-HUE_STEPS, HUE_STEPS)


def turn_hue(pixels: Pixels, steps: int) -> Pixels:
    """Every colour turned on the colour wheel by steps of two degrees; brightness and saturation stay.

    Goes by 8-bit HSV values (hue 0 to 179), rounded as OpenCV does, with which the reference turns it; as
    there, red and blue have changed places, which turns the wheel the other way round.
    """
    blue, green, red = (pixels[..., channel].astype(np.int32) for channel in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    saturation = chroma * _per(255, value) + 2048 >> 12
    sector = np.select(
        [value == red, value == green], [green - blue, blue - red + 2 * chroma], red - green + 4 * chroma
    )
    hue = ((sector * _per(30, chroma) + 2048 >> 12) + steps) % 180
    return _from_hsv(hue, saturation, value)


def _per(whole: int, parts: NDArray[np.int32]) -> NDArray[np.int32]:
    """whole / parts in 4096ths; 0 for no parts."""
    return np.where(parts, np.rint((whole << 12) / np.maximum(parts, 1)), 0).astype(np.int32)


def _from_hsv(hue: NDArray[np.int32], saturation: NDArray[np.int32], value: NDArray[np.int32]) -> Pixels:
    """8-bit HSV (hue 0 to 179) as (blue, green, red)."""
    sixths = hue.astype(np.float32) * np.float32(1 / 30)
    sector = np.floor(sixths).astype(np.int32)
    part = sixths - sector.astype(np.float32)
    scale = np.float32(1 / 255)
    bright = (saturation.astype(np.float32) * scale).astype(np.float64)  # products below are rounded once
    full = value.astype(np.float32) * scale
    shares = (np.float32(0), np.float32(1), part, 1 - part)
    levels = np.stack([full * (1 - bright * share).astype(np.float32) for share in shares], axis=-1)
    order = np.array([[1, 3, 0], [1, 0, 2], [3, 0, 1], [0, 2, 1], [0, 1, 3], [2, 1, 0]])
    return (np.take_along_axis(levels, order[sector], axis=-1) * np.float32(255)).astype(np.uint8)


def fitted(
    path: Path,
    fit: Fit,
    *,
    corner: tuple[int, int] | None = None,
    flip: bool = False,
    hue: int = 0,
) -> Pixels:
    """A picture of its bucket's size. `corner` is the crop's (left, top); None: the middle."""
    left, top = fit.center if corner is None else corner
    pixels = crop(resize_pixels(load_pixels(path), fit.resized), fit.bucket, left, top)
    if hue:
        pixels = turn_hue(pixels, hue)
    return pixels[:, ::-1] if flip else pixels


def load_mask(path: Path, *, see_through: bool) -> NDArray[np.uint8] | None:
    """(height, width), 255 where the picture is to be learned ("Masked loss").

    Of a picture of its own, a mask is the red channel; with `see_through` the picture itself says it by its
    opacity (None: it is opaque throughout).
    """
    if not see_through:
        return load_pixels(path)[..., 0]
    try:
        with Image.open(path) as picture:
            if not ("transparency" in picture.info or picture.mode in {"RGBA", "LA", "PA", "La", "RGBa"}):
                return None
            alpha = picture.convert("RGBA").getchannel("A")
            for turn in UPRIGHT.get(orientation(picture), ()):
                alpha = alpha.transpose(turn)
            return np.asarray(alpha)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError("pictures.unreadable", "train_data_dir", path=str(path), error=str(error)) from error


def fitted_mask(
    mask: NDArray[np.uint8] | None,
    fit: Fit,
    factor: int,
    *,
    corner: tuple[int, int] | None = None,
    flip: bool = False,
) -> NDArray[np.float32]:
    """(bucket height / factor, bucket width / factor), 0 to 1: scaled, cropped and flipped like its picture.

    `factor`: pixels of a picture's side per one of its latents'.
    """
    width, height = fit.bucket[0] // factor, fit.bucket[1] // factor
    if mask is None:
        return np.ones((height, width), np.float32)
    left, top = fit.center if corner is None else corner
    grey = np.repeat(mask[..., None], 3, axis=2)
    part = crop(resize_pixels(grey, fit.resized), fit.bucket, left, top)[..., 0]
    part = part[:, ::-1] if flip else part
    blocks = part[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return np.ascontiguousarray(blocks.mean((1, 3), dtype=np.float32) / np.float32(255))


def to_input(pixels: Pixels) -> NDArray[np.float32]:
    """(3, height, width), -1 to 1: what the VAE reads."""
    values = pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    return np.ascontiguousarray((values - np.float32(0.5)) / np.float32(0.5))
