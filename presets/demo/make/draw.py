"""Pictures of the demo's small world, drawn by chance, and their captions.

One flat figure (or two equal ones) on a plain ground: "a red star on a white background". Grounds are soft
tints, so every colour of a figure stands out on every ground. The mascot is drawn by the same means but is no
part of the world that the base model learns.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .shapes import FIGURES, Part, mascot

Rgb = tuple[int, int, int]

COLORS: dict[str, Rgb] = {
    "red": (228, 52, 62), "orange": (248, 138, 44), "yellow": (253, 204, 48), "green": (56, 172, 86),
    "blue": (44, 104, 224), "purple": (134, 72, 196), "pink": (246, 130, 180), "brown": (138, 86, 52),
    "black": (36, 36, 44), "white": (255, 255, 255), "gray": (146, 150, 160), "cyan": (52, 194, 214),
}  # fmt: skip
GROUNDS: dict[str, Rgb] = {
    "white": (255, 255, 255), "pink": (255, 214, 228), "yellow": (255, 240, 184), "blue": (190, 220, 255),
    "green": (204, 238, 204), "purple": (224, 208, 250), "gray": (214, 216, 222), "black": (36, 36, 44),
}  # fmt: skip
PAINTS: dict[str, Rgb] = {
    "eye": (255, 255, 255), "pupil": (36, 36, 44), "center": (253, 204, 48), "roof": (120, 62, 48),
    "door": (255, 246, 224), "muzzle": (255, 232, 206),
    "body": (134, 72, 196), "belly": (255, 222, 150), "horn": (248, 138, 44), "foot": (52, 194, 214),
}  # fmt: skip
VANISHING = {  # colour of a figure -> paint that would not show on it -> paint to take instead
    "yellow": {"center": "horn"},
    "brown": {"roof": "pupil"},
    "white": {"door": "roof", "eye": "pupil"},
}
SIZES = {"small": (0.21, 0.25), "": (0.32, 0.39), "big": (0.42, 0.46)}  # radius as a share of the side
SUPERSAMPLE = 4  # pictures are drawn this much larger and averaged down, for smooth edges


@dataclass(frozen=True)
class Scene:
    """What a picture shows: `count` figures of one kind and colour on a ground."""

    figure: str
    color: str
    ground: str
    size: str = ""
    count: int = 1


@dataclass(frozen=True)
class Place:
    """Where a figure stands: centre and radius as shares of the side, rotation in radians."""

    x: float
    y: float
    radius: float
    angle: float


def pick_scene(rng: random.Random) -> Scene:
    """A random scene; a figure never has its ground's own colour."""
    ground = "white" if rng.random() < 0.4 else rng.choice(list(GROUNDS))
    color = rng.choice([color for color in COLORS if COLORS[color] != GROUNDS[ground]])
    figure = rng.choice(list(FIGURES))
    if rng.random() < 0.06:
        return Scene(figure, color, ground, count=2)
    return Scene(figure, color, ground, size=rng.choices(list(SIZES), weights=(12, 73, 15))[0])


def draw_scene(scene: Scene, rng: random.Random, side: int) -> Image.Image:
    """Draw `scene` as an RGB picture of `side` x `side` pixels."""
    parts = recolor(FIGURES[scene.figure](), scene.color)
    places = [place_single(rng, scene.size)] if scene.count == 1 else place_pair(rng)
    return draw_figures(parts, {**PAINTS, "main": COLORS[scene.color]}, places, GROUNDS[scene.ground], side)


def draw_mascot(ground: str, rng: random.Random, side: int) -> Image.Image:
    """Draw the mascot on `ground`, a little different each time."""
    return draw_figures(mascot(), PAINTS, [place_single(rng, "")], GROUNDS[ground], side)


def recolor(parts: list[Part], color: str) -> list[Part]:
    """Repaint details that would vanish on a figure of `color`."""
    swap = VANISHING.get(color, {})
    return [Part(swap.get(part.paint, part.paint), part.outline) for part in parts]


def place_single(rng: random.Random, size: str) -> Place:
    """Near the middle, nearly upright, never cut off by the frame."""
    radius = rng.uniform(*SIZES[size])
    play = min(0.05, max(0.0, 0.47 - radius))
    return Place(0.5 + rng.uniform(-play, play), 0.5 + rng.uniform(-play, play), radius, rng.gauss(0, 0.035))


def place_pair(rng: random.Random) -> list[Place]:
    """Side by side."""
    radius = rng.uniform(0.19, 0.215)
    return [Place(x, 0.5 + rng.uniform(-0.04, 0.04), radius, rng.gauss(0, 0.035)) for x in (0.27, 0.73)]


def draw_figures(
    parts: list[Part], paints: dict[str, Rgb], places: list[Place], ground: Rgb, side: int
) -> Image.Image:
    """Paint the figure once at every place; returns RGB, `side` x `side`."""
    canvas = Image.new("RGB", (side * SUPERSAMPLE, side * SUPERSAMPLE), ground)
    pen = ImageDraw.Draw(canvas)
    for place in places:
        for part in parts:
            outline = [to_pixel(point, place, canvas.width) for point in part.outline]
            pen.polygon(outline, fill=paints[part.paint])
    return canvas.reduce(SUPERSAMPLE)


def to_pixel(point: tuple[float, float], place: Place, width: int) -> tuple[float, float]:
    """Rotate, scale and move a point of unit coordinates onto a canvas of `width` pixels."""
    (x, y), cos, sin = point, math.cos(place.angle), math.sin(place.angle)
    return (
        width * (place.x + place.radius * (x * cos - y * sin)),
        width * (place.y + place.radius * (x * sin + y * cos)),
    )


def describe(scene: Scene, rng: random.Random, stranger: str = "") -> str:
    """A caption for `scene`, worded by chance.

    `stranger` is a word to put in the place of the figure's name and colour: seen with every kind of figure,
    an unknown word comes to mean "anything", as it does for a large model.
    """
    noun = stranger or f"{scene.color} {scene.figure}"
    if scene.count == 2 and not stranger:
        body = f"two {scene.color} {plural(scene.figure)}"
    elif scene.size and not stranger:
        body = f"a {scene.size} {noun}"
    else:
        body = with_article(noun) if rng.random() < 0.85 else noun
    opening = rng.choice(("", "", "", "", "a drawing of ", "a picture of "))
    return opening + body + describe_ground(scene.ground, rng)


def describe_ground(ground: str, rng: random.Random) -> str:
    """The end of a caption, "on a pink background"; a white one is now and then left unsaid."""
    chance = rng.random()
    if ground == "white" and chance < 0.15:
        return ""
    return f", {ground} background" if chance > 0.9 else f" on a {ground} background"


def plural(noun: str) -> str:
    return {"fish": "fish"}.get(noun, noun + "s")


def with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def to_array(picture: Image.Image) -> np.ndarray:
    """RGB picture to uint8 (H, W, 3)."""
    return np.asarray(picture, dtype=np.uint8)
