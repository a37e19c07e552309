"""Looks at a run while it trains: at held-out pictures, and at prompts that have nothing to do with it.

Everything is looked at with the same noise at the same timesteps each time, dropouts off, the random state
of the training untouched. What the base model answers is asked once, with the LoRA off.

*Drift* follows the base model's own way from noise to a picture, so it needs no pictures: at some of its
steps the answer with the LoRA is compared with the one without, in shares of the base model's error there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from math import isfinite, log

import torch
from torch import Tensor

from trainer.data.buckets import Fit, Size
from trainer.data.datasets import Dataset, fit_of
from trainer.data.folders import TrainImage
from trainer.events import Event, Judged, Notice, Phase
from trainer.judge.material import Material
from trainer.judge.points import TIMESTEPS
from trainer.judge.verdict import Point, no_longer_better
from trainer.models.base import BaseModel, Conditioning, Framing
from trainer.network.network import LoraNetwork
from trainer.training.latent_cache import cache_latents
from trainer.training.sampling import random_state_kept

SMALLEST_ERROR = 1e-8
"""Errors below count as this: a logarithm is taken."""
PATIENCE = 3
"""Points in a row without a better one after which "Stop when it no longer gets better" stops."""
Encode = Callable[[Sequence[str]], Conditioning]


@dataclass(frozen=True)
class Seen:
    """A picture as it is trained, to be looked at."""

    latents: Tensor
    """(C, h, w)."""
    caption: str
    framing: Framing
    """Of this one picture."""


@dataclass(frozen=True)
class Look:
    """Noisy latents of one picture, and the answer that is wanted for them."""

    caption: str
    noisy: Tensor
    """(C, h, w), as `wanted`."""
    timestep: Tensor
    """()."""
    wanted: Tensor
    framing: Framing


@dataclass(frozen=True)
class JudgedPictures:
    """The pictures that a run is judged by."""

    held_out: Sequence[Seen] = ()
    learned: Sequence[Seen] = ()
    size: Size = (0, 0)
    """Of the pictures that are drawn from noise beside them."""


def see(model: BaseModel, datasets: Sequence[Dataset], material: Material) -> JudgedPictures:
    """Encode the pictures that a run is judged by."""
    if not material.held_out:
        return JudgedPictures()
    # A size that the run trains: its time and memory are known to be there.
    size = fit_of(datasets, material.learned[0]).bucket
    held_out, learned = (_seen(model, datasets, images) for images in (material.held_out, material.learned))
    return JudgedPictures(held_out, learned, size)


def _seen(model: BaseModel, datasets: Sequence[Dataset], images: Sequence[TrainImage]) -> list[Seen]:
    fits = [fit_of(datasets, image) for image in images]
    places = [(image.path, fit) for image, fit in zip(images, fits, strict=True)]
    cached = cache_latents(model, places, batch_size=datasets[0].batch_size)
    return [
        Seen(latents, image.caption, framing_of(image, fit))
        for latents, image, fit in zip(cached.latents, images, fits, strict=True)
    ]


def framing_of(image: TrainImage, fit: Fit) -> Framing:
    """How one picture is cut when nothing about it is left to chance."""
    corner = fit.bars(image.width, image.height, flip=False)
    return Framing([(image.width, image.height)], [corner], fit.bucket)


def timesteps_of(model: BaseModel) -> tuple[Tensor, list[int]]:
    """Timesteps (n,) of a way from noise to picture, and the places on it that are looked at."""
    sampler = model.schedule.sampler("ddim")
    sampler.set_timesteps(2 * TIMESTEPS)
    # Every second: the way needs small steps to arrive, the look does not need each.
    return sampler.timesteps, list(range(0, 2 * TIMESTEPS, 2))


def looks_at(model: BaseModel, pictures: Sequence[Seen], pairs: int) -> list[Look]:
    """`pairs` pairs of a picture and a timestep, all timesteps equally often, each with noise of its own."""
    timesteps, places = timesteps_of(model)
    looks: list[Look] = []
    for number in range(pairs if pictures else 0):
        picture = pictures[(number + number // len(places)) % len(pictures)]  # each at each timestep in turn
        latents = picture.latents[None]
        # By number alone: the same noise at every look, so that only the LoRA makes a difference.
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(number))
        timestep = timesteps[places[number % len(places)]][None].cpu()
        noisy = model.schedule.add_noise(latents, noise, timestep)
        wanted = model.schedule.target(latents, noise, timestep)
        looks.append(Look(picture.caption, noisy[0], timestep[0], wanted[0], picture.framing))
    return looks


def followed(model: BaseModel, encode: Encode, prompts: Sequence[str], size: Size) -> list[Look]:
    """What the model as it stands answers on its way from noise to a picture of each prompt."""
    framing = Framing([size], [(0, 0)], size)
    shape = model.latent_shape(size)
    looks: list[Look] = []
    for number, prompt in enumerate(prompts):
        sampler = model.schedule.sampler("ddim")
        sampler.set_timesteps(2 * TIMESTEPS)
        # Once per prompt: its text does not change on the way.
        conditioning = encode([prompt])
        latents = torch.randn((1, *shape), generator=torch.Generator().manual_seed(number))
        for place, timestep in enumerate(sampler.timesteps):
            # Some samplers scale what the model sees; what is compared is what it saw.
            noisy = sampler.scale_model_input(latents, timestep)
            asked = Look(prompt, noisy[0], timestep.cpu(), noisy[0], framing)
            [answer] = answers(model, conditioning, [asked])
            if place % 2 == 0:
                looks.append(replace(asked, wanted=answer))
            latents = sampler.step(answer[None], timestep, latents).prev_sample
    return looks


def answers(model: BaseModel, conditioning: Conditioning, looks: Sequence[Look]) -> Tensor:
    """The model's answers (n, C, h, w), float32 on the CPU, to n looks of one size."""
    device = conditioning.embeds.device
    noisy = torch.stack([look.noisy for look in looks]).to(device)
    timesteps = torch.stack([look.timestep for look in looks]).to(device)
    framing = Framing(
        [look.framing.original[0] for look in looks],
        [look.framing.corner[0] for look in looks],
        looks[0].framing.target,
    )
    return model.predict(noisy, timesteps, conditioning, framing).float().cpu()


def errors(model: BaseModel, encode: Encode, looks: Sequence[Look], batch_size: int) -> list[float]:
    """Mean squared distance of the model's answer from the wanted one, for each look."""
    sizes: defaultdict[Size, list[int]] = defaultdict(list)
    for index, look in enumerate(looks):
        # Batches are of one size.
        sizes[look.framing.target].append(index)
    found = [0.0] * len(looks)
    for members in sizes.values():
        for start in range(0, len(members), batch_size):
            part = members[start : start + batch_size]
            asked = [looks[index] for index in part]
            given = answers(model, encode([look.caption for look in asked]), asked)
            wanted = torch.stack([look.wanted for look in asked])
            for index, error in zip(part, (given - wanted).square().flatten(1).mean(1).tolist(), strict=True):
                found[index] = error
    return found


@dataclass
class Judge:
    """Judges a run at the steps of its plan."""

    model: BaseModel
    network: LoraNetwork
    encode: Encode
    """What the denoiser is told of captions, as the text encoder stands; no gradients."""
    inference: Callable[[], AbstractContextManager[None]]
    """Inside, network and optimizer are as in use, not as in training."""
    emit: Callable[[Event], None]
    steps: frozenset[int] = frozenset()
    held_out: Sequence[Look] = ()
    learned: Sequence[Look] = ()
    prompts: Sequence[str] = ()
    size: Size = (0, 0)
    """Of the pictures of the prompts."""
    batch_size: int = 1
    per_epoch: int = 1
    """Steps."""
    may_stop: bool = False
    """"Stop when it no longer gets better"."""
    points: list[Point] = field(default_factory=list)
    _base: list[float] = field(default_factory=list)
    _way: list[Look] = field(default_factory=list)

    def judge_due(self, step: int) -> None:
        """Judge the run if that is due after this step, and has not been done."""
        # The last step may also be a point of the plan: judged once.
        if step not in self.steps or (self.points and self.points[-1].step == step):
            return
        self.emit(Phase("judge"))
        try:
            point = self._point(step)
        except Exception as error:  # noqa: BLE001  # a look at a run is never worth the run
            self.emit(Notice("judge.failed", {"error": f"{type(error).__name__}: {error}"}, "warning"))
            return
        self.points.append(point)
        self.emit(Judged(step, point.epoch, point.held_out, point.learned, round(point.drift, 5)))

    def _point(self, step: int) -> Point:
        """The run as it stands. Raises ValueError where the model answers with no numbers."""
        looks = [*self.held_out, *self.learned]
        # The training must go on as if nobody had looked.
        with self.inference(), torch.no_grad(), random_state_kept():
            if not self._base:
                # The base model never changes: asked once, with the LoRA off, instead of loaded twice.
                with self.network.disabled():
                    self._base = self._errors(looks)
                    self._way = followed(self.model, self.encode, self.prompts, self.size)
            found = self._errors(looks)
            drift = self._drift()
        if not all(map(isfinite, (*found, *self._base, drift))):
            raise ValueError("no numbers")
        ratios = [
            round(log(max(on, SMALLEST_ERROR) / max(off, SMALLEST_ERROR)), 5)
            for on, off in zip(found, self._base, strict=True)
        ]
        held, learned = ratios[: len(self.held_out)], ratios[len(self.held_out) :]
        return Point(step, -(-step // self.per_epoch), tuple(held), tuple(learned), drift)

    def satisfied(self) -> bool:
        """Whether the run is to end because it no longer gets better; says so when it is."""
        if not (self.may_stop and no_longer_better(self.points, PATIENCE)):
            return False
        self.emit(Notice("judge.stopped_early", {"step": self.points[-1 - PATIENCE].step}))
        return True

    def _errors(self, looks: Sequence[Look]) -> list[float]:
        return errors(self.model, self.encode, looks, self.batch_size)

    def _drift(self) -> float:
        """Mean change of the answers to the prompts, in shares of the base model's error at that timestep."""
        usual: defaultdict[float, list[float]] = defaultdict(list)
        for look, error in zip([*self.held_out, *self.learned], self._base, strict=True):
            usual[float(look.timestep)].append(error)
        shares = [
            change / max(SMALLEST_ERROR, sum(known) / len(known))
            for look, change in zip(self._way, self._errors(self._way), strict=True)
            if (known := usual.get(float(look.timestep)))
        ]
        return sum(shares) / len(shares) if shares else 0.0
