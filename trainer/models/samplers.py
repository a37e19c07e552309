"""The samplers of "Sample sampler", by kohya's names: diffusers' own schedulers."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from diffusers import DDPMScheduler, schedulers
from torch import Tensor

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


LEAST_ALPHA = 2**-24
"""Share of the picture at the last timestep of "Zero terminal SNR": sigmas would be infinite at 0."""
LEAST_ALPHA_OF_TWO = 3e-4
"""The same for samplers that ask twice a step: from the huge sigma of the other one their second slope throws
them far off."""
ASK_TWICE = ("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler")


def build_sampler(name: str, noise_scheduler: DDPMScheduler) -> Any:
    """A diffusion's sampler on the betas and prediction type with which it is trained.

    A model trained down to pure noise is sampled from there, too: on the rescaled betas, from the last
    timestep on ("trailing"; arXiv 2305.08891, sections 3.1 and 3.3). This is for models that answer velocity:
    at pure noise, to answer the noise would tell nothing.
    """
    class_name, options = SAMPLERS[name]
    kind, config = _class(class_name), noise_scheduler.config
    shared = {
        key: config[key]
        for key in ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")
    }
    if config["rescale_betas_zero_snr"] and config["prediction_type"] == "v_prediction":
        least = LEAST_ALPHA_OF_TWO if class_name in ASK_TWICE else LEAST_ALPHA
        shared["trained_betas"] = terminal_betas(noise_scheduler, least).numpy()
        if "timestep_spacing" in inspect.signature(kind).parameters:  # others begin at the last one anyway
            shared["timestep_spacing"] = "trailing"
    return kind(**shared, **options)


def _class(name: str) -> Any:
    """By name: diffusers imports only what is asked for."""
    if name == "LMSDiscreteScheduler":  # hidden in a run, which begins without scipy (jobs/libraries)
        from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler

        return LMSDiscreteScheduler
    return getattr(schedulers, name)


def terminal_betas(noise_scheduler: DDPMScheduler, least: float) -> Tensor:
    """The rescaled betas, (1000,), of a schedule that leaves this share of the picture's variance at last."""
    shares = least + (1 - least) * noise_scheduler.alphas_cumprod
    # beta_t = 1 - alpha_t, and alpha_t is what one step leaves of the share before it.
    return 1 - shares / torch.cat([shares.new_ones(1), shares[:-1]])
