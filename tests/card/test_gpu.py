"""On a real card: `pytest -m gpu`, a few minutes. Without one everything here is skipped."""

from __future__ import annotations

import gc
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.models.lean.test_activations import CASES, answer, lean
from tests.trainer.runs import events, run, short_settings, trained
from trainer import settings as schema
from trainer.events import Sampled, Stopped
from trainer.files.job_folder import JobFolder, find_state
from trainer.jobs.run import run_job
from trainer.models.base import Framing
from trainer.models.load import open_model
from trainer.models.opening import Opening
from trainer.network.network import build_network
from trainer.settings import Settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card"),
]
CPU, CARD = torch.device("cpu"), torch.device("cuda")
HAS_BFLOAT16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
BOUNDS = {torch.float32: 2e-3, torch.bfloat16: 0.15, torch.float16: 0.04}
"""Shares of their size by which answers and gradients may differ from the CPU's in float32.

In bfloat16 the CPU's own gradients are 0.09 away from those.
"""


def learned(device: torch.device, dtype: torch.dtype, kind: str = "Standard") -> list[Tensor]:
    """The answer and the gradients of one step on the demo model, the same on every device."""
    settings = short_settings(Path())
    model = open_model(Opening(settings.model, dtype=dtype, device=device))
    torch.manual_seed(0)
    options = schema.Network(LoRA_type=kind, network_dim=4, network_alpha=2)  # pyright: ignore[reportArgumentType]  # any of them
    network = build_network(model, options)
    generator = torch.Generator().manual_seed(1)
    for adapter in network.adapters:
        for weight in adapter.entries.values():
            drawn = torch.randn(weight.shape, generator=generator) * 0.05
            weight.data = weight.data + drawn.to(weight)
    noisy, wanted = (torch.randn(2, 4, 8, 8, generator=generator).to(device) for _ in range(2))
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        texts = model.encode_text(["sks mascot", "a drawing"])
        steps = torch.tensor([100, 700], device=device)
        answer = model.predict(noisy, steps, texts, Framing([(64, 64)] * 2, [(0, 0)] * 2, (64, 64)))
    scale = 1024.0 if dtype == torch.float16 else 1.0
    ((answer.float() - wanted).square().mean() * scale).backward()
    found = [weight.grad / scale for weight in network.parameters() if weight.grad is not None]
    return [answer.detach().float().cpu(), torch.cat([one.float().flatten() for one in found]).cpu()]


@pytest.mark.parametrize("kind", ["Standard", "LyCORIS/LoHa", "LyCORIS/LoKr", "LyCORIS/GLoRA"])
@pytest.mark.parametrize("dtype", list(BOUNDS), ids=str)
def test_one_step_equals_the_cpus(kind: str, dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and not HAS_BFLOAT16:
        pytest.skip("this card has no bfloat16")
    for ours, wanted in zip(learned(CARD, dtype, kind), learned(CPU, torch.float32, kind), strict=True):
        assert (ours - wanted).norm() <= BOUNDS[dtype] * wanted.norm()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", list(BOUNDS), ids=str)
def test_what_is_computed_anew_equals_the_cpus(name: str, dtype: torch.dtype) -> None:
    make, shape, *_ = CASES[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        ours = answer(lean(make()).to(CARD), x.to(CARD))
    for one, wanted in zip(ours, answer(make(), x), strict=True):
        assert (one.float().cpu() - wanted).norm() <= BOUNDS[dtype] * wanted.norm()


RUNS: dict[str, dict[str, Any]] = {
    "float32": {"mixed_precision": "no"},
    "float16, its gradients scaled": {"mixed_precision": "fp16"},
    "bfloat16": {"mixed_precision": "bf16"},
    "all in bfloat16": {"mixed_precision": "bf16", "full_bf16": True},
    "checkpointed": {"gradient_checkpointing": True},
    "pictures encoded in the loop": {"cache_latents": False, "flip_aug": True},
    "accumulated": {"gradient_accumulation_steps": 2},
    "compiled": {"dynamo_backend": "inductor"},
    **{
        name: {"optimizer": name}
        for name in ("AdamW8bit", "PagedAdamW8bit", "Lion8bit", "Prodigy", "Adafactor", "DAdaptAdam")
    },
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_learns_on_the_card(tmp_path: Path, name: str) -> None:
    if "bf16" in str(RUNS[name]) and not HAS_BFLOAT16:
        pytest.skip("this card has no bfloat16")
    if "8bit" in name and not importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is not installed")
    weights = trained(tmp_path, **RUNS[name])
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    assert any(tensor.any() for key, tensor in weights.items() if "lora_up" in key)


@pytest.mark.skipif(not importlib.util.find_spec("xformers"), reason="xformers is not installed")
def test_xformers_gives_torchs_answer(tmp_path: Path) -> None:
    both = [trained(tmp_path / kind, xformers=kind, mixed_precision="fp16") for kind in ("sdpa", "xformers")]
    for key, tensor in both[0].items():
        assert (tensor - both[1][key]).norm() <= 0.05 * tensor.norm() + 1e-3


def test_latents_of_the_card_are_kept_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_ATELIER_WORKSPACE", str(tmp_path / "work"))
    first = trained(tmp_path / "one", cache_latents_to_disk=True)
    again = trained(tmp_path / "two", cache_latents_to_disk=True)
    assert all(torch.equal(tensor, again[key]) for key, tensor in first.items())


def test_samples_are_drawn(tmp_path: Path) -> None:
    job, code = run(tmp_path, sample_every_n_steps=2, sample_prompts="sks mascot --w 64 --h 64 --s 3")
    assert code == 0
    assert [event for event in events(job) if isinstance(event, Sampled)]


def test_stopped_and_continued_it_ends_as_in_one_go(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", max_train_steps=4)
    job, code = run(tmp_path / "parts", max_train_steps=2, save_state=True)
    assert code == 0
    assert not [event for event in events(job) if isinstance(event, Stopped)]
    state = find_state(tmp_path / "parts" / "out" / "mascot-state")
    rest = trained(tmp_path / "rest", max_train_steps=4, resume=str(state))
    assert all(torch.equal(tensor, rest[key]) for key, tensor in whole.items())


def test_memory_is_given_back_after_a_run(tmp_path: Path) -> None:
    trained(tmp_path)
    gc.collect()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() < 64 << 20


def test_pictures_are_tried(tmp_path: Path) -> None:
    job, code = run(tmp_path)
    assert code == 0
    wish = {
        "id": 1,
        "prompt": "sks mascot",
        "strength": 1.0,
        "seed": 3,
        "width": 64,
        "height": 64,
        "steps": 3,
    }
    wish["file"] = str(tmp_path / "out" / "mascot.safetensors")
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "try", str(job.path)],
        input=json.dumps(wish) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"drawn"' in done.stdout, done.stderr


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two cards")
def test_two_cards_learn_together(tmp_path: Path) -> None:
    values: dict[str, Any] = {"num_processes": 2, "gpu_ids": "0,1", "max_train_steps": 2}
    settings: Settings = short_settings(tmp_path, **values)
    assert run_job(JobFolder.create(tmp_path, settings)) == 0
