"""A start imports what it uses; what it left out is there for whoever asks for it later."""

from __future__ import annotations

import subprocess
import sys

LATER = """
import sys
from importlib.util import find_spec
from trainer.jobs.libraries import import_libraries

import_libraries()
for name in ("trainer.training.build", "peft", "diffusers.models.unets.unet_2d_condition"):
    assert name in sys.modules, name

import torch
from peft import LoraConfig, inject_adapter_in_model

inject_adapter_in_model(LoraConfig(target_modules="0"), torch.nn.Sequential(torch.nn.Linear(2, 2)))
for name in ("bitsandbytes", "scipy", "torch._inductor.lowering"):
    assert name not in sys.modules, name

from diffusers import DDPMScheduler

from trainer.models.samplers import SAMPLERS, build_sampler

for name in SAMPLERS:
    sampler = build_sampler(name, DDPMScheduler())
    sampler.set_timesteps(4)
    picture = torch.ones(1, 4, 8, 8)
    for timestep in sampler.timesteps:
        sampler.scale_model_input(picture, timestep)
        picture = sampler.step(picture / 2, timestep, picture).prev_sample
    assert picture.isfinite().all(), name

if find_spec("bitsandbytes"):
    import bitsandbytes.optim
"""


def test_what_training_does_not_use_is_imported_when_someone_asks_for_it() -> None:
    subprocess.run([sys.executable, "-c", LATER], check=True)


FOUND = """
import diffusers.utils
import sys
assert diffusers.utils.is_scipy_available()
assert "scipy" not in sys.modules

from trainer.jobs.libraries import import_libraries

import_libraries()
assert "trainer.training.build" in sys.modules
from diffusers import StableDiffusionPipeline
"""


def test_what_a_library_has_found_already_is_not_hidden_from_it() -> None:
    subprocess.run([sys.executable, "-c", FOUND], check=True)
