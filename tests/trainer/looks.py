"""Parts of a run at which the effect of a setting shows, each built as a run builds it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.trainer.runs import events
from tests.trainer.tiny import FRAMING, predict
from trainer.events import Sampled, Step
from trainer.files.job_folder import JobFolder, default_workspace
from trainer.jobs.run import run_job
from trainer.models.base import Conditioning
from trainer.plan.inputs import read_inputs
from trainer.plan.lr_schedule import rates
from trainer.preflight.check import check
from trainer.settings import Settings
from trainer.training import build as builders
from trainer.training import loop
from trainer.training.batches import Batch
from trainer.training.encode import caption_encoder, open_base_model
from trainer.training.learner import build_lora, build_rates
from trainer.training.precision import Precision
from trainer.training.prepare import Computing, build_data
from trainer.training.rng import seed_everything

CPU = torch.device("cpu")
Seen = dict[str, Any]


def quiet(_event: Any) -> None:
    """Notices are of no interest here."""


def fingerprint(values: Any) -> str:
    """Any tensors and plain values as one text."""
    if isinstance(values, torch.Tensor):
        data = values.detach().float().cpu().numpy()
        return f"{tuple(data.shape)} {hashlib.sha256(np.round(data, 6).tobytes()).hexdigest()}"
    if isinstance(values, Mapping):
        return str({key: fingerprint(value) for key, value in values.items()})
    if isinstance(values, (list, tuple)):
        return str([fingerprint(value) for value in values])
    return str(values)


def planned(settings: Settings, _folder: Path) -> Seen:
    """Steps, files, sample pictures, buckets: what the page shows before the run."""
    plan = check(settings).plan
    assert plan is not None
    return {**plan.as_json(), "disk_bytes": 0}


def batches(settings: Settings, _folder: Path) -> Seen:
    """Three batches of each of four epochs as they are learned from."""
    data = build_data(read_inputs(settings), 1)
    epochs = [[data._batch(epoch, number) for number in range(3)] for epoch in (1, 2, 3, 4)]
    found = [batch for epoch in epochs for batch in epoch]
    return {
        "epochs": [[text for batch in epoch for text in batch.captions] for epoch in epochs],
        "captions": [text for batch in found for text in batch.captions],
        "loss_weights": {float(weight) for batch in found for weight in batch.loss_weights},
        "flipped": [flip for batch in found for flip in batch.flipped],
        "pixels": len({fingerprint(batch.pixels) for batch in found}),
        "masks": [batch.masks for batch in found if batch.masks is not None],
    }


def base_model(settings: Settings) -> Any:
    return open_base_model(settings, Computing(CPU, Precision(torch.float32, autocast=False)), quiet)


def schedule(settings: Settings, _folder: Path) -> list[float]:
    """How much of the picture is left at each timestep."""
    return base_model(settings).schedule.alphas_cumprod.tolist()


def told_of_captions(settings: Settings, _folder: Path) -> Seen:
    """What the UNet is told of a short and of a long caption."""
    encoder = caption_encoder(settings.captions, base_model(settings), CPU, learning=False)
    long = ", ".join(f"part {number} of it" for number in range(60))
    return {"short": encoder(["a (red:1.5) cat"]).embeds, "long": encoder([long]).embeds}


def noise_and_loss(settings: Settings, _folder: Path) -> Seen:
    """Noise, timesteps and the loss of one batch, with a model that answers with half of what it sees."""
    model: Any = base_model(settings)
    model.predict = lambda latents, *_told: latents * 0.5
    parts: Any = SimpleNamespace(
        settings=settings,
        model=model,
        accelerator=SimpleNamespace(autocast=nullcontext),
    )
    torch.manual_seed(3)
    seed_everything(3)
    latents = torch.randn(2, 4, 8, 8) + 0.5
    noise, timesteps = loop.draw_noise_and_timesteps(parts, latents)
    batch = Batch(("a", "b"), torch.ones(2), (0, 1), (False, False), FRAMING)
    loss = loop.batch_loss(parts, batch, latents, Conditioning(torch.zeros(2, 77, 8)), noise, timesteps)
    return {"noise": noise, "timesteps": timesteps, "loss": round(float(loss), 5)}


def learner(settings: Settings, _folder: Path) -> Seen:
    """Optimizer with the rates of its groups, and the LoRA: sizes, alphas, number format."""
    network = build_lora(settings, base_model(settings), quiet)
    optimizer = build_rates(settings.optimizer, network, CPU, quiet)
    state = network.state_dict()
    return {
        "optimizer": type(optimizer).__name__,
        "defaults": {key: value for key, value in optimizer.defaults.items() if key != "lr"},
        "rates": {group["name"]: group["lr"] for group in optimizer.param_groups},
        "weights": {group["name"]: len(group["params"]) for group in optimizer.param_groups},
        "sizes": {name: tuple(tensor.shape) for name, tensor in state.items()},
        "ranks": {len(tensor) for name, tensor in state.items() if name.endswith("lora_down.weight")},
        "alphas": {float(tensor) for name, tensor in state.items() if name.endswith(".alpha")},
        "dtype": network.parameters()[0].dtype,
    }


def answer(settings: Settings, _folder: Path) -> torch.Tensor:
    """What the UNet with its LoRA answers while it trains, the LoRA's weights not being zero."""
    model = base_model(settings)
    network = build_lora(settings, model, quiet)
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3)
    network.train()
    seed_everything(5)
    noisy, text = torch.randn(1, 4, 8, 8), torch.randn(1, 77, model.denoiser.config["cross_attention_dim"])
    with torch.no_grad():
        return predict(model, noisy, torch.tensor([500]), text)


def curve(settings: Settings, _folder: Path) -> list[float]:
    """The learning rate over 40 steps."""
    return list(rates(settings.optimizer, 40))


def built(settings: Settings, folder: Path) -> Seen:
    """What stands ready before the first step."""
    parts = builders.build_parts(read_inputs(settings), JobFolder.create(folder, settings), quiet)
    return {
        "threads": torch.get_num_threads(),
        "checkpointing": parts.model.denoiser.is_gradient_checkpointing,
        "unet": parts.model.denoiser.dtype,
        "vae": parts.model.vae.dtype,
        "cached": parts.cached is not None,
        "on_disk": len(list((default_workspace() / "latents").glob("*"))),
        "safety_seconds": parts.keeper.every_seconds,
    }


def ran(settings: Settings, folder: Path) -> Seen:
    """A short run: losses, weights, files, samples."""
    job = JobFolder.create(folder, settings)
    assert run_job(job) == 0, events(job)[-1]
    told, output = events(job), Path(settings.folders.output_dir)
    tensors = load_file(output / "mascot.safetensors")
    return {
        "losses": [round(event.loss, 6) for event in told if isinstance(event, Step)],
        "files": {path.name for path in output.iterdir()},
        "samples": [Image.open(job.path / one.path).tobytes() for one in told if isinstance(one, Sampled)],
        "unet": {name: tensor for name, tensor in tensors.items() if "_unet_" in name},
        "text_encoder": {name: tensor for name, tensor in tensors.items() if "_te_" in name},
        "moved": sum(float(tensor.abs().sum()) for name, tensor in tensors.items() if "lora_up" in name),
        "dtype": next(iter(tensors.values())).dtype,
    }
