"""Sample pictures while it trains ("Sample images config").

diffusers' own pipeline and schedulers make the pictures, from texts of our own encoding, so that "Clip skip"
means the same in training and in samples. Drawing a sample leaves the random state of the
training untouched.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from PIL.PngImagePlugin import PngInfo

from trainer.events import Event, Notice, Phase, Sampled
from trainer.files.whole_file import write_whole
from trainer.judge.copying import Gallery
from trainer.models.base import BaseModel, Conditioning
from trainer.plan import sample_text
from trainer.plan.sample_prompts import SamplePrompt


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave torch's random state as it was, on the CPU and on every GPU."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield


def draw(
    model: BaseModel,
    prompt: SamplePrompt,
    encode: Callable[[str], Conditioning],
    *,
    sampler: str,
    seed: int,
    interrupted: Callable[[], bool],
) -> Image:
    """One picture for one prompt line.

    `encode` says what the denoiser is told of a text, all of one length. Raises InterruptedError when
    `interrupted()` turns true between two denoising steps.
    """

    def look_for_stop(_pipe: Any, _index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if interrupted():
            raise InterruptedError
        return tensors

    # Made anew each time: it holds nothing, and its scheduler keeps state from picture to picture.
    pipeline = model.pipeline()
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = model.schedule.sampler(sampler)
    with random_state_kept(), torch.no_grad():
        # Some samplers draw from the global generator as well as from the one given.
        torch.manual_seed(seed)
        latents = pipeline(
            **model.prompt(encode(prompt.prompt), encode(prompt.negative)),
            width=prompt.width,
            height=prompt.height,
            num_inference_steps=prompt.steps,
            guidance_scale=prompt.scale,
            # On the CPU: the same seed gives the same picture on every device.
            generator=torch.Generator("cpu").manual_seed(seed),
            callback_on_step_end=look_for_stop,
            # The VAE is ours: in its own format, and read only now if it was let go.
            output_type="latent",
        ).images
        [pixels] = pipeline.image_processor.postprocess(model.decode_latents(latents), output_type="pil")
    return pixels


def as_png(image: Image, text: str = "") -> bytes:
    """The picture as a file's content; `text` says how it was drawn (trainer.plan.sample_text)."""
    buffer, about = io.BytesIO(), PngInfo()
    if text:
        about.add_text(sample_text.PNG_KEY, text)
    image.save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()


@dataclass(frozen=True)
class SampleMaker:
    """Draws the sample pictures of a run when the plan wants them; a failure is a notice, never the end."""

    model: BaseModel
    prompts: Sequence[SamplePrompt]
    steps: frozenset[int]
    """Steps after which samples are drawn; 0 is before the first."""
    sampler: str
    """"Sample sampler"."""
    seed: int
    """For prompts without a seed of their own."""
    encode: Callable[[str], Conditioning]
    inference: Callable[[], AbstractContextManager[None]]
    """Inside, network and optimizer are as in use, not as in training."""
    folder: Path
    emit: Callable[[Event], None]
    interrupted: Callable[[], bool]
    about: Mapping[str, object] = field(default_factory=dict)
    """What the pictures' text tells of model and run."""
    gallery: Gallery | None = None
    """The training pictures, where it is to be told how near samples lie to them."""

    def draw_due(self, step: int) -> None:
        """Draw all prompts if samples are due after this step."""
        if step in self.steps:
            self.draw(step)

    def draw(self, step: int) -> None:
        """Draw all prompts."""
        with self.inference():
            for index, prompt in enumerate(self.prompts):
                self.emit(Phase("sample", index, len(self.prompts)))
                try:
                    self._draw(step, index, prompt)
                except InterruptedError:
                    return
                except Exception as error:  # noqa: BLE001  # a sample picture is never worth a run
                    values = {"prompt": prompt.prompt, "error": f"{type(error).__name__}: {error}"}
                    self.emit(Notice("training.sample_failed", values, "warning"))

    def _draw(self, step: int, index: int, prompt: SamplePrompt) -> None:
        # The same from step to step, so that pictures of a run can be compared; another for each line.
        seed = self.seed + index if prompt.seed is None else prompt.seed
        sampler = prompt.sampler or self.sampler
        image = draw(
            self.model, prompt, self.encode, sampler=sampler, seed=seed, interrupted=self.interrupted
        )
        # Only when there is a picture: a job without samples has no empty folder.
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{step:08d}_{index:02d}.png"
        text = sample_text.picture_text(prompt, seed, sampler, {**self.about, sample_text.STEP: step})
        write_whole(path, as_png(image, text))
        near = round(self.gallery.nearness(image), 3) if self.gallery else -1.0
        self.emit(Sampled(step, index, prompt.prompt, f"{self.folder.name}/{path.name}", seed, near))
