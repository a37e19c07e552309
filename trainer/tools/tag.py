"""Tags of pictures by a tagger in WD14's form: model.onnx and selected_tags.csv.

The form is that of SmilingWolf's taggers: pictures (1, side, side, 3), BGR, 0-255, in a white square; answers
between 0 and 1, one for each row of the table, whose category is 9 for ratings, 0 for general tags and 4 for
characters.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from trainer.errors import UserError, is_out_of_memory

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

GENERAL, CHARACTER, RATING = 0, 4, 9
LARGEST_SIDE = 4096
"""Pixels; taggers have 448."""
SHORTEST_TAG = 4
"""Letters from which on underscores become blanks: shorter ones are faces such as ^_^."""


@dataclass(frozen=True)
class Choice:
    """Which tags are taken."""

    general: float = 0.35
    character: float = 0.85
    blanks: bool = True
    """Blanks in place of underscores."""
    ratings: bool = False
    never: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    """Where it names any, no others are taken."""


class Tagger:
    """A tagger, loaded."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError for a folder that holds none, or where the library is missing."""
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError("tools.no_onnxruntime", "model") from error
        self.tags = read_tags(folder / "selected_tags.csv")
        providers = onnxruntime.get_available_providers()
        try:
            self._session: Any = onnxruntime.InferenceSession(folder / "model.onnx", providers=providers)
        except Exception as error:  # onnxruntime's own errors have no common class but this
            raise UserError("tools.not_for_tag", "model", name=folder.name) from error
        inputs = self._session.get_inputs()
        shape = inputs[0].shape
        sides = [size for size in shape[1:] if isinstance(size, int) and size != 3]
        square = len(shape) == 4 and len(sides) == 2 and sides[0] == sides[1] <= LARGEST_SIDE
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or not square:
            raise UserError("tools.not_for_tag", "model", name=folder.name)
        self._name, self._input, self.side, self._first = folder.name, inputs[0].name, sides[0], shape[1] == 3

    def scores(self, picture: Picture) -> np.ndarray:
        """How sure it is of each tag, (tags,), 0-1. Raises UserError where model and table do not fit."""
        pixels = prepared(picture, self.side)
        pixels = pixels.transpose(2, 0, 1) if self._first else pixels
        try:
            [scores, *_] = self._session.run(None, {self._input: pixels[None]})
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise UserError("tools.not_for_tag", "model", name=self._name) from error
        if scores.size != len(self.tags):
            raise UserError("tools.not_for_tag", "model", name=self._name)
        return np.nan_to_num(scores.reshape(-1))


def read_tags(path: Path) -> list[tuple[str, int]]:
    """(name, category) of each row. Raises UserError for what is no such table."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [(row["name"], int(row["category"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError("tools.not_for_tag", "model", name=path.parent.name) from error


def prepared(picture: Picture, side: int) -> np.ndarray:
    """A picture as taggers take it: (side, side, 3), BGR, float32, in the middle of a white square."""
    longest = max(picture.size)
    square = Image.new("RGB", (longest, longest), "WHITE")
    square.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
    square = square.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(square, np.float32)[:, :, ::-1].copy()


def taken_tags(tags: Sequence[tuple[str, int]], scores: np.ndarray, choice: Choice) -> list[str]:
    """The tags that are taken: the rating (where wanted), characters, then general ones, the surest first."""
    rows = sorted(zip(tags, scores.tolist(), strict=True), key=lambda row: -row[1])
    ratings = [name for (name, kind), _ in rows if kind == RATING][: int(choice.ratings)]
    characters = [name for (name, kind), score in rows if kind == CHARACTER and score >= choice.character]
    general = [name for (name, kind), score in rows if kind == GENERAL and score >= choice.general]
    names = [spelled(name, blanks=choice.blanks) for name in (*ratings, *characters, *general)]
    return [name for name in names if _is_wanted(name, choice)]


def spelled(name: str, *, blanks: bool) -> str:
    """A tag as it is written: long_hair as "long hair", but ^_^ as it is."""
    return name.replace("_", " ") if blanks and len(name) >= SHORTEST_TAG else name


def _is_wanted(name: str, choice: Choice) -> bool:
    same = comparable(name)
    return same not in choice.never and (not choice.only or same in choice.only)


def comparable(name: str) -> str:
    """For comparing: neither case, underscores nor blanks around it count."""
    return name.strip().replace("_", " ").casefold()
