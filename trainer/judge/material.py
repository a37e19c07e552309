"""What a run is judged by: pictures, and prompts that have nothing to do with what is learned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.data.folders import TrainImage
from trainer.judge.points import JudgePlan

USUAL_PROMPTS = (
    "a woman in a garden",
    "a street in a city at night",
    "a bowl of fruit on a table",
    "a lake between mountains in the morning",
    "a dog on a beach",
)


@dataclass(frozen=True)
class Material:
    """What is looked at each time."""

    held_out: Sequence[TrainImage] = ()
    learned: Sequence[TrainImage] = ()
    """As many that are trained."""
    prompts: Sequence[str] = ()
    """What they give should stay as it was."""

    @property
    def texts(self) -> list[str]:
        """All that the text encoder is asked."""
        return [*(image.caption for image in (*self.held_out, *self.learned)), *self.prompts]


def material_of(
    planned: JudgePlan | None,
    images: Sequence[TrainImage],
    held_out: Sequence[TrainImage],
    sample_prompts: Sequence[str],
) -> Material:
    """At most as many pictures as there are pairs; those that are trained evenly from all of them."""
    if planned is None or not held_out:
        return Material()
    held = held_out[: planned.pairs]
    once = list({image.path: image for image in images if not image.is_reg}.values())
    subjects = list(dict.fromkeys(image.class_tokens for image in once))
    asked = ordinary_prompts(sample_prompts, subjects)[: planned.prompts]
    return Material(held, once[:: -(-len(once) // len(held))], asked)


def ordinary_prompts(sample_prompts: Sequence[str], subjects: Sequence[str]) -> list[str]:
    """The person's own prompts without the subject's words, ours, and the kind of thing the subject is.

    `subjects`: the words of the folders, as "momo cat"; the last of several words is taken for the kind.
    """
    words = [_words(subject) for subject in subjects]
    own = {word for each in words for word in each}
    controls = [prompt for prompt in sample_prompts if prompt.strip() and not own & set(_words(prompt))]
    kinds = [f"a {each[-1]}" for each in words if len(each) > 1]
    ours = [prompt for prompt in USUAL_PROMPTS if not own & set(_words(prompt))]
    return list(dict.fromkeys([*controls[:2], *ours[:1], *kinds[:2], *ours[1:]]))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
