"""Sample pictures while it trains ("Sample images config").

diffusers' own pipeline and schedulers make the pictures, from text embeddings of our own encoding, so that
"Clip skip" means the same in training and in samples. Drawing a sample leaves the random state of the
training untouched.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, schedulers
from PIL.Image import Image
from torch import Tensor

from trainer.events import Event, Notice, Phase, Sampled
from trainer.files.whole_file import write_whole
from trainer.plan.sample_prompts import SamplePrompt

# kohya's name -> diffusers' class and what makes it that sampler. The beta schedule comes from the model.
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True, "steps_offset": 1}),
    "lms": ("LMSDiscreteScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm_2": ("KDPM2DiscreteScheduler", {}),
    "dpm_2_a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpmsolver": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
    ),
    "dpmsolver++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpmsingle": ("DPMSolverSinglestepScheduler", {}),
}
SAMPLERS |= {f"k_{name}": SAMPLERS[name] for name in ("lms", "euler", "euler_a", "dpm_2", "dpm_2_a")}


def build_sampler(name: str, noise_scheduler: Any) -> Any:
    """The diffusers scheduler for "Sample sampler", on the model's own betas and prediction type."""
    class_name, options = SAMPLERS[name]
    config = noise_scheduler.config
    shared = {
        key: config[key]
        for key in ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")
    }
    return getattr(schedulers, class_name)(**shared, **options)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave torch's random state as it was, on the CPU and on every GPU."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield


def draw(
    pipeline: Any,
    prompt: SamplePrompt,
    encode: Callable[[str], Tensor],
    *,
    sampler: Any,
    seed: int,
    interrupted: Callable[[], bool],
) -> Image:
    """One picture for one prompt line.

    `encode` turns a text into embeddings (1, 77·n, D), all of one length. Raises InterruptedError when
    `interrupted()` turns true between two denoising steps.
    """

    def look_for_stop(_pipe: Any, _index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if interrupted():
            raise InterruptedError
        return tensors

    pipeline.scheduler = sampler
    with random_state_kept(), torch.no_grad():
        torch.manual_seed(seed)
        result = pipeline(
            prompt_embeds=encode(prompt.prompt),
            negative_prompt_embeds=encode(prompt.negative),
            width=prompt.width,
            height=prompt.height,
            num_inference_steps=prompt.steps,
            guidance_scale=prompt.scale,
            generator=torch.Generator("cpu").manual_seed(seed),
            callback_on_step_end=look_for_stop,
        )
    return result.images[0]


def as_png(image: Image) -> bytes:
    """The picture as a file's content."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def build_pipeline(unet: Any, vae: Any, text_encoder: Any, tokenizer: Any, noise_scheduler: Any) -> Any:
    """diffusers' pipeline around the parts that are being trained (nothing is copied)."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_sampler("ddim", noise_scheduler),
        safety_checker=None,  # type: ignore[arg-type]  # diffusers allows None here
        feature_extractor=None,  # type: ignore[arg-type]  # see above
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@dataclass(frozen=True)
class SampleMaker:
    """Draws the sample pictures of a run when the plan wants them; a failure is a notice, never the end."""

    pipeline: Any
    prompts: Sequence[SamplePrompt]
    steps: frozenset[int]
    """Steps after which samples are drawn; 0 is before the first."""
    sampler: str
    """"Sample sampler"."""
    seed: int
    """For prompts without a seed of their own."""
    encode: Callable[[str], Tensor]
    inference: Callable[[], AbstractContextManager[None]]
    """Inside, network and optimizer are as in use, not as in training."""
    folder: Path
    emit: Callable[[Event], None]
    interrupted: Callable[[], bool]

    def draw_due(self, step: int) -> None:
        """Draw all prompts if samples are due after this step."""
        if step not in self.steps:
            return
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
        seed = self.seed + index if prompt.seed is None else prompt.seed
        image = draw(
            self.pipeline,
            prompt,
            self.encode,
            sampler=build_sampler(prompt.sampler or self.sampler, self.pipeline.scheduler),
            seed=seed,
            interrupted=self.interrupted,
        )
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{step:08d}_{index:02d}.png"
        write_whole(path, as_png(image))
        self.emit(Sampled(step, index, prompt.prompt, f"{self.folder.name}/{path.name}", seed))
