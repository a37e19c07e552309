"""The outlines the demo is drawn from: polygons in unit coordinates (x right, y down, radius about 1).

A figure is a list of `Part(paint, outline)` from back to front. `paint` is the name of a colour role:
"main" is the colour the caption names, the others are fixed by `draw.PAINTS`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

Point = tuple[float, float]
Outline = list[Point]


class Part(NamedTuple):
    """One filled polygon of a figure."""

    paint: str
    outline: Outline


def ellipse(
    x: float, y: float, rx: float, ry: float | None = None, start: float = 0, end: float = 360
) -> Outline:
    """An ellipse, or the arc of one from `start` to `end` degrees (0 is right, 90 is down)."""
    ry = rx if ry is None else ry
    angles = [math.radians(start + (end - start) * step / 48) for step in range(49)]
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


def star_outline(points: int, inner: float, radius: float = 1.0) -> Outline:
    """A star that stands on two tips; `inner` is the radius of its notches."""
    corners = range(2 * points)
    radii = [radius * (inner if corner % 2 else 1) for corner in corners]
    angles = [math.radians(-90 + 180 * corner / points) for corner in corners]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def heart_outline() -> Outline:
    """The classic heart curve, scaled to radius 1."""
    outline = []
    for step in range(72):
        t = 2 * math.pi * step / 72
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        outline.append((16 * math.sin(t) ** 3 / 16.5, -y / 16.5 - 0.12))
    return outline


def moon_outline() -> Outline:
    """A crescent that opens to the right: an outer arc, closed by an inner one that meets its tips."""
    outer = ellipse(0.18, 0, 0.98, start=62, end=298)
    tip_x, tip_y = outer[0]
    center = 0.68
    radius = math.hypot(tip_x - center, tip_y)
    start = math.degrees(math.atan2(-tip_y, tip_x - center)) % 360
    inner = ellipse(center, 0, radius, start=start, end=360 - start)
    return outer + inner


def bean(x: float, y: float, rx: float, ry: float, power: float = 2.6) -> Outline:
    """A superellipse: rounder than a box, fuller than an ellipse."""
    outline = []
    for step in range(64):
        a = 2 * math.pi * step / 64
        outline.append(
            (x + rx * signed_power(math.cos(a), 2 / power), y + ry * signed_power(math.sin(a), 2 / power))
        )
    return outline


def signed_power(base: float, exponent: float) -> float:
    return math.copysign(abs(base) ** exponent, base)


def eyes(y: float, apart: float, size: float) -> list[Part]:
    """Two big eyes that look straight ahead."""
    parts = []
    for x in (-apart, apart):
        parts += [Part("eye", ellipse(x, y, size)), Part("pupil", ellipse(x * 0.9, y + 0.02, size * 0.58))]
    return parts


def circle() -> list[Part]:
    return [Part("main", ellipse(0, 0, 0.95))]


def square() -> list[Part]:
    return [Part("main", [(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)])]


def triangle() -> list[Part]:
    return [Part("main", [(0, -0.95), (1.02, 0.8), (-1.02, 0.8)])]


def star() -> list[Part]:
    return [Part("main", [(x, y + 0.08) for x, y in star_outline(5, 0.47, 1.08)])]


def heart() -> list[Part]:
    return [Part("main", heart_outline())]


def moon() -> list[Part]:
    return [Part("main", moon_outline())]


def flower() -> list[Part]:
    angles = [math.radians(60 * petal - 90) for petal in range(6)]
    petals = [Part("main", ellipse(0.57 * math.cos(a), 0.57 * math.sin(a), 0.42)) for a in angles]
    return [*petals, Part("center", ellipse(0, 0, 0.36))]


def house() -> list[Part]:
    return [
        Part("main", [(-0.72, -0.15), (0.72, -0.15), (0.72, 0.92), (-0.72, 0.92)]),
        Part("roof", [(0, -1), (1.02, -0.1), (-1.02, -0.1)]),
        Part("door", [(-0.2, 0.3), (0.2, 0.3), (0.2, 0.92), (-0.2, 0.92)]),
    ]


def fish() -> list[Part]:
    return [
        Part("main", [(0.35, 0), (1.02, -0.55), (1.02, 0.55)]),
        Part("main", ellipse(-0.2, 0, 0.8, 0.58)),
        Part("eye", ellipse(-0.55, -0.1, 0.2)),
        Part("pupil", ellipse(-0.58, -0.1, 0.115)),
    ]


def cat() -> list[Part]:
    return [
        Part("main", [(-0.88, -1.0), (-0.1, -0.6), (-0.82, 0.1)]),
        Part("main", [(0.88, -1.0), (0.1, -0.6), (0.82, 0.1)]),
        Part("main", bean(0, 0.14, 0.93, 0.78)),
        *eyes(0.05, 0.42, 0.25),
        Part("pupil", [(-0.11, 0.38), (0.11, 0.38), (0, 0.52)]),
    ]


def bear() -> list[Part]:
    return [
        Part("main", ellipse(-0.66, -0.62, 0.34)),
        Part("main", ellipse(0.66, -0.62, 0.34)),
        Part("main", bean(0, 0.1, 0.92, 0.84)),
        Part("muzzle", ellipse(0, 0.45, 0.4, 0.31)),
        *eyes(-0.1, 0.4, 0.22),
        Part("pupil", ellipse(0, 0.36, 0.14, 0.1)),
    ]


def ghost() -> list[Part]:
    hem = [(0.8, 0.72), (0.53, 0.95), (0.27, 0.72), (0, 0.95), (-0.27, 0.72), (-0.53, 0.95), (-0.8, 0.72)]
    skirt = [(0.8, -0.16), (0.8, 0.95), *hem, (-0.8, 0.95), (-0.8, -0.16)]
    return [Part("main", ellipse(0, -0.16, 0.8, start=180, end=360) + skirt), *eyes(-0.12, 0.36, 0.25)]


def mascot() -> list[Part]:
    """The character of the demo LoRA: a round little monster. The base model never sees it."""
    horns = [Part("horn", [(s * 0.2, -0.62), (s * 0.74, -1.06), (s * 0.72, -0.3)]) for s in (-1, 1)]
    feet = [Part("foot", ellipse(s * 0.4, 0.9, 0.34, 0.18)) for s in (-1, 1)]
    body = Part("body", bean(0, 0.1, 0.86, 0.84))
    return [*horns, *feet, body, Part("belly", ellipse(0, 0.52, 0.5, 0.4)), *eyes(-0.16, 0.37, 0.3)]


FIGURES: dict[str, Callable[[], list[Part]]] = {
    figure.__name__: figure
    for figure in (circle, square, triangle, star, heart, moon, flower, house, fish, cat, bear, ghost)
}
