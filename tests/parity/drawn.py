"""What the reference drew from Python's `random` for its pictures and captions, drawn again.

It seeds that generator when it shuffles its pictures and goes on drawing from it: for each picture the flip,
the crop, the change of colour, the caption; for each batch the levels of the noise and the ranks of DyLoRA.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.data.buckets import BucketRule
from trainer.data.captions import CaptionRule
from trainer.data.picture_files import read_picture_header


@dataclass(frozen=True)
class Drawn:
    """What was drawn for one picture of a batch."""

    key: str
    """Its path below the recordings' folder."""
    flipped: bool
    corner: tuple[int, int] | None
    """Left and top of the crop; None: the middle."""
    hue: int
    gamma: float | None
    """The reference's second change of colour, which the guide does not know and we do not make."""
    caption: str


def shuffle(event: Mapping[str, Any]) -> None:
    """Seed and draw as the reference does when it shuffles its pictures."""
    random.seed(event["random.seed"])
    random.shuffle(list(event["buckets_indices"]))
    for bucket in event["buckets"]:
        random.shuffle(list(bucket))


class Drawer:
    """Draws what the reference drew, batch by batch."""

    def __init__(
        self, args: Mapping[str, Any], rule: BucketRule, captions: Mapping[str, str], root: Path
    ) -> None:
        self.args, self.rule, self.captions, self.root = args, rule, captions, root
        self.cached = bool(args["cache_latents"] or args["cache_latents_to_disk"])

    def batch(self, event: Mapping[str, Any]) -> list[Drawn]:
        """The pictures of one fetched batch."""
        return [self._picture(key, event) for key in event["keys"]]

    def first(
        self, event: Mapping[str, Any], chance: Sequence[float] | None, fits: Callable[[list[Drawn]], bool]
    ) -> list[Drawn]:
        """The batch that was fetched before training began, of which `fits` knows what was recorded.

        Building the model draws too, nobody knows how often: the generator is turned on until it fits, first
        from the point where its next two numbers were recorded (`chance`).
        """
        for _ in _turning(chance):
            state = random.getstate()
            found = self.batch(event)
            if fits(found):
                return found
            random.setstate(state)
        raise LookupError("no chance gives the first batch")

    def _picture(self, key: str, event: Mapping[str, Any]) -> Drawn:
        args = self.args
        flipped = bool(args["flip_aug"]) and random.random() < 0.5
        corner, hue, gamma = None, 0, None
        if args["random_crop"] and not self.cached:
            header = read_picture_header(self.root / key)
            corner = self._corner(header.width, header.height)
        if args["color_aug"] and not self.cached:
            hue, gamma = _colours()
        return Drawn(key, flipped, corner, hue, gamma, self._caption(key, event))

    def _corner(self, width: int, height: int) -> tuple[int, int]:
        spare = self.rule.fit(width, height).spare
        left, top = (random.randint(0, pixels) if pixels else 0 for pixels in spare)
        return left, top

    def _caption(self, key: str, event: Mapping[str, Any]) -> str:
        args = self.args
        rule = CaptionRule(
            shuffle=args["shuffle_caption"],
            keep_tokens=args["keep_tokens"] or 0,
            dropout_rate=args["caption_dropout_rate"] or 0.0,
            dropout_every_n_epochs=args["caption_dropout_every_n_epochs"] or 0,
            tag_dropout_rate=args["caption_tag_dropout_rate"] or 0.0,
            keep_tokens_separator=args["keep_tokens_separator"] or "",
            secondary_separator=args["secondary_separator"] or "",
            separator=args["caption_separator"] or ",",
            prefix=args["caption_prefix"] or "",
            suffix=args["caption_suffix"] or "",
            enable_wildcard=args["enable_wildcard"],
            token_warmup_step=args["token_warmup_step"] or 0,
            token_warmup_min=args["token_warmup_min"],
        )
        chance: Any = random  # the module draws from the global generator
        return rule.process(
            self.captions[key],
            chance,
            epoch=event["epoch_seen_by_dataset"],
            step=event["step_seen_by_dataset"],
            total_steps=int(args["max_train_steps"]),
        )


MOST_TURNS = 2000
USUAL_TURNS = 14
"""How often the reference draws between the last recorded point and its first picture."""


def following() -> list[float]:
    """The next two numbers of Python's `random`, without taking them."""
    state = random.getstate()
    numbers = [random.random(), random.random()]
    random.setstate(state)
    return numbers


def _turning(chance: Sequence[float] | None) -> Iterator[None]:
    """Turn the generator from point to point."""
    start = random.getstate()
    if chance is not None and _turned_to(chance):
        _turn(USUAL_TURNS)
        yield
    random.setstate(start)
    for _ in range(MOST_TURNS):
        yield
        _turn(1)


def _turned_to(chance: Sequence[float]) -> bool:
    """Turn on until these numbers come next; whether they do."""
    for _ in range(MOST_TURNS):
        if following() == list(chance):
            return True
        _turn(1)
    return False


def _turn(times: int) -> None:
    for _ in range(times):
        random.getrandbits(32)


def _colours() -> tuple[int, float | None]:
    """Steps of the hue, or a gamma; for two pictures of three neither."""
    if random.random() > 0.33:
        return 0, None
    if random.random() > 0.5:
        return math.floor(random.uniform(-8, 8)), None
    return 0, random.uniform(0.95, 1.05)
