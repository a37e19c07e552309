"""How good are the pictures? Measured by what can be counted, without a trained judge.

*Shape and colour*: the ground is the colour of the frame; whatever differs from it is the figure. Most of its
pixels must be nearest to the named colour; its outline, moved and scaled to a common box, must overlap most
with the named figure's. *Likeness to the mascot*: the smallest difference of pixels to any of the
mascot's pictures, over small shifts. On pictures drawn by `draw` itself it is right in 300 of 300.
"""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from . import draw
from .shapes import FIGURES, Part, mascot

BOX = 48  # pixels of the common box that outlines are compared in
FIGURE_CONTRAST = 40  # a pixel this far from the ground (RGB distance) belongs to the figure
LIKENESS_SIDE = 32  # pixels; mascots are compared at this size
LIKE_MASCOT = 0.13  # a smaller `mascot_distance` is a mascot to the eye
SHIFTS = range(-3, 4)  # pixels of LIKENESS_SIDE


def ground_color(picture: np.ndarray) -> np.ndarray:
    """Median colour (3,) of the frame of a uint8 picture (H, W, 3)."""
    frame = np.concatenate([picture[:3].reshape(-1, 3), picture[-3:].reshape(-1, 3)])
    sides = np.concatenate([picture[:, :3].reshape(-1, 3), picture[:, -3:].reshape(-1, 3)])
    return np.median(np.concatenate([frame, sides]), axis=0)


def figure_mask(picture: np.ndarray) -> np.ndarray:
    """True (H, W) where a picture differs from its ground, holes filled."""
    difference = np.linalg.norm(picture.astype(float) - ground_color(picture), axis=-1)
    return fill_holes(difference > FIGURE_CONTRAST)


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill what the frame cannot reach: white eyes on a white ground belong to the figure."""
    outside = np.zeros_like(mask)
    outside[0], outside[-1], outside[:, 0], outside[:, -1] = ~mask[0], ~mask[-1], ~mask[:, 0], ~mask[:, -1]
    while True:
        grown = outside.copy()
        grown[1:] |= outside[:-1]
        grown[:-1] |= outside[1:]
        grown[:, 1:] |= outside[:, :-1]
        grown[:, :-1] |= outside[:, 1:]
        grown &= ~mask
        if (grown == outside).all():
            return ~outside
        outside = grown


def nearest_color(color: np.ndarray, palette: dict[str, draw.Rgb]) -> str:
    """Name of the palette colour nearest to an RGB value."""
    return min(palette, key=lambda name: float(np.linalg.norm(np.array(palette[name]) - color)))


def main_color(picture: np.ndarray) -> str:
    """The colour most of the figure has: each of its pixels votes."""
    names = list(draw.COLORS)
    palette = np.array([draw.COLORS[name] for name in names], dtype=float)  # (12, 3)
    pixels = picture[figure_mask(picture)].astype(float)  # (N, 3)
    if not len(pixels):
        return ""
    votes = np.linalg.norm(pixels[:, None] - palette, axis=-1).argmin(1)
    return names[np.bincount(votes, minlength=len(names)).argmax()]


def boxed(mask: np.ndarray) -> np.ndarray:
    """The figure of a mask, scaled to fill BOX x BOX (keeping its proportions), as bool."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros((BOX, BOX), dtype=bool)
    piece = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(piece.shape)
    square = np.zeros((side, side), dtype=np.uint8)
    top, left = (side - piece.shape[0]) // 2, (side - piece.shape[1]) // 2
    square[top : top + piece.shape[0], left : left + piece.shape[1]] = piece * 255
    return np.asarray(Image.fromarray(square).resize((BOX, BOX), Image.Resampling.BILINEAR)) > 127


@cache
def reference_boxes() -> dict[str, list[np.ndarray]]:
    """Every figure, and the mascot, upright and a little turned."""
    figures = {**{name: figure() for name, figure in FIGURES.items()}, "mascot": mascot()}
    angles = (-0.07, 0.0, 0.07)
    return {name: [boxed(silhouette(parts, angle)) for angle in angles] for name, parts in figures.items()}


def silhouette(parts: list[Part], angle: float) -> np.ndarray:
    """A figure's mask (H, W), all parts in one."""
    paints: dict[str, draw.Rgb] = dict.fromkeys([part.paint for part in parts], (0, 0, 0))
    place = draw.Place(0.5, 0.5, 0.36, angle)
    return np.asarray(draw.draw_figures(parts, paints, [place], (255, 255, 255), 128))[..., 0] < 128


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def shape_scores(picture: np.ndarray) -> dict[str, float]:
    """Overlap of the picture's figure with each figure there is, 0..1."""
    box = boxed(figure_mask(picture))
    return {name: max(overlap(box, each) for each in boxes) for name, boxes in reference_boxes().items()}


def shape_of(picture: np.ndarray) -> str:
    """The figure whose outline fits best."""
    scores = shape_scores(picture)
    return max(scores, key=lambda name: scores[name])


def ground_of(picture: np.ndarray) -> str:
    return nearest_color(ground_color(picture), draw.GROUNDS)


# -- likeness to the mascot


def small(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) to float (LIKENESS_SIDE, LIKENESS_SIDE, 3) in 0..1."""
    size = (LIKENESS_SIDE, LIKENESS_SIDE)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX), dtype=np.float32) / 255


def mascot_distance(picture: np.ndarray) -> float:
    """Root mean square difference (0..1) to the nearest shipped mascot, over small shifts, without grounds.

    Drawn mascots are 0.03 to 0.09 away from each other, other figures 0.16 and more, purple ones about 0.2.
    """
    own = whitened_ground(picture)
    return min(shifted_distance(own, reference) for reference in mascot_references())


@cache
def mascot_references() -> list[np.ndarray]:
    """The shipped pictures of the mascot, small and with white grounds."""
    return [whitened_ground(read_picture(path, 128)) for path in mascot_paths()]


def whitened_ground(picture: np.ndarray) -> np.ndarray:
    """The small picture with its ground painted white, so that only the figure counts."""
    white = np.where(figure_mask(picture)[..., None], picture, 255).astype(np.uint8)
    return small(white)


def shifted_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Smallest root mean square difference over the shifts."""
    shifts = [(y, x) for y in SHIFTS for x in SHIFTS]
    return min(float(np.sqrt(np.mean((np.roll(a, shift, axis=(0, 1)) - b) ** 2))) for shift in shifts)


def picture_change(before: np.ndarray, after: np.ndarray) -> float:
    """Root mean square difference (0..1) of two pictures of one seed.

    Two drawings by the same caption are about 0.15 apart, so a control below that still shows the same.
    """
    return float(np.sqrt(np.mean((small(before) - small(after)) ** 2)))


def mascot_paths() -> list[Path]:
    """The shipped pictures of the mascot."""
    return sorted((Path(__file__).resolve().parent.parent / "pictures").glob("*/*.png"))


def read_picture(path: Path, side: int) -> np.ndarray:
    """A picture file as uint8 (side, side, 3)."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.LANCZOS))
