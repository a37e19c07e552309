"""Run our trainer's arithmetic over a recorded run of the reference and print how far apart they are.

    python -m tests.parity.replay TRACE_DIR [--root DIR] [--draw] [--images]

Without options the recorded latents, noise and timesteps are fed. `--draw`: our noise code draws from the
recorded generator state. `--images`: our picture pipeline and VAE make the latents. Prints one JSON line
and exits 0 only if all figures are within bounds.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.optimization import Adafactor

from tests.parity.pictures import latents_of
from tests.parity.recording import Recording
from trainer import noise as noises
from trainer.device import pick_precision
from trainer.kohya import from_sd_scripts
from trainer.lora_file import DTYPES, load_lora, save_lora
from trainer.loss import distance, huber_threshold, target_for, timestep_weights
from trainer.lr_schedule import build_lr_scheduler, warmup_steps
from trainer.model import LoadedModel, enable_gradient_checkpointing, load_model
from trainer.network import Network, build_network
from trainer.optimizer import build_optimizer
from trainer.settings import Settings
from trainer.text import encode_text, tokenize

BOUNDS = {
    "hidden_max_abs": 2e-5,
    "pred_max_abs": 2e-5,
    "loss_max_abs": 2e-6,
    "grad_norm_max_rel": 1e-5,
    "lr_max_rel": 1e-6,
    "d_max_rel": 1e-4,
    "lora_rel": 2e-3,
    "noise_max_abs": 0.0,
    "latents_max_abs": 2e-3,
}
BF16_BOUNDS = {
    "loss_max_abs": 5e-3,
    "lora_rel": 0.1,
    "lr_max_rel": 1e-6,
    "d_max_rel": 0.1,
    "noise_max_abs": 0.0,
}
FINDS_RATE = ("Prodigy", "DAdapt", "Adafactor")
"""These hardly move in a few steps: their rates and `d` are compared instead of the final weights."""


@dataclass
class Figures:
    """The largest difference seen, by name."""

    largest: dict[str, float] = field(default_factory=dict)

    def see(self, name: str, ours: Any, theirs: Any, *, relative: bool = False) -> None:
        """Take a pair of tensors or numbers into account."""
        ours, theirs = torch.as_tensor(ours).double(), torch.as_tensor(theirs).double()
        if ours.shape != theirs.shape:
            self.largest[name] = float("inf")
            return
        if ours.numel():
            gap = (ours - theirs).abs()
            gap = gap / theirs.abs().clamp(min=1e-12) if relative else gap
            self.largest[name] = max(self.largest.get(name, 0.0), float(gap.max()))


@dataclass
class Run:
    """Our trainer, built from the recording's arguments."""

    recording: Recording
    settings: Settings
    model: LoadedModel
    network: Network
    optimizer: torch.optim.Optimizer
    lr_scheduler: torch.optim.lr_scheduler.LRScheduler
    total_steps: int


def build_run(recording: Recording) -> Run:
    """Settings through our own import, then everything else from the settings."""
    args = recording.args
    settings = from_sd_scripts(args).settings
    device = torch.device("cpu")
    precision = pick_precision(settings.machine.mixed_precision, device)
    model = load_model(
        settings.model.pretrained_model_name_or_path,
        v2=settings.model.v2,
        sdxl=settings.model.sdxl,
        v_parameterization=settings.model.v_parameterization,
        vae=settings.model.vae,
        dtype=precision.dtype,
        zero_terminal_snr=settings.noise.zero_terminal_snr,
    )
    network = build_network(
        model,
        settings.network,
        train_unet=not args["network_train_text_encoder_only"],
        train_text_encoder=not args["network_train_unet_only"],
    )
    network.load(recording.initial)
    if settings.machine.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    optimizer, _ = build_optimizer(settings.optimizer, _groups(settings, network), device)
    total_steps = int(args["max_train_steps"])
    warmup = warmup_steps(settings.optimizer, total_steps)
    lr_scheduler = build_lr_scheduler(settings.optimizer, optimizer, total_steps, warmup)
    return Run(recording, settings, model, network, optimizer, lr_scheduler, total_steps)


def _groups(settings: Settings, network: Network) -> list[dict[str, Any]]:
    rates = settings.optimizer
    return network.groups(
        unet_lr=rates.learning_rate if rates.unet_lr is None else rates.unet_lr,
        text_encoder_lr=rates.learning_rate if rates.text_encoder_lr is None else rates.text_encoder_lr,
        unet_plus=rates.loraplus_unet_lr_ratio or rates.loraplus_lr_ratio,
        text_encoder_plus=rates.loraplus_text_encoder_lr_ratio or rates.loraplus_lr_ratio,
    )


def replay(recording: Recording, *, draw: bool = False, images: bool = False) -> dict[str, Any]:
    """All figures of one recording."""
    run = build_run(recording)
    figures = Figures()
    weights = timestep_weights(
        run.model.noise_scheduler,
        prediction_type=run.model.prediction_type,
        min_snr_gamma=run.settings.loss.min_snr_gamma,
        scale_v_pred_loss_like_noise_pred=run.settings.loss.scale_v_pred_loss_like_noise_pred,
        v_pred_like_loss=run.settings.loss.v_pred_like_loss,
        debiased_estimation_loss=run.settings.loss.debiased_estimation_loss,
    )
    steps = {step["after_microbatch"]: step for step in recording.trace["optim_steps"]}
    bf16 = run.model.unet.dtype == torch.bfloat16
    accumulation = run.settings.length.gradient_accumulation_steps
    for batch, python_state in zip(recording.trace["microbatches"], recording.python_states(), strict=True):
        random.setstate(python_state)
        torch.set_rng_state(recording.step(batch["index"], "torch_rng_state"))
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            scores = _scores(run, batch, figures, draw=draw, images=images)
        timesteps = recording.step(batch["index"], "timesteps").flatten()
        loss = (scores * torch.tensor(batch["loss_weights"]) * weights(timesteps)).mean()
        figures.see("loss_max_abs", loss.detach(), batch["loss"])
        (loss / accumulation).backward()
        if batch["index"] in steps:
            _change_weights(run, steps[batch["index"]], figures)
    return _verdict(run, figures, bf16=bf16)


def _scores(run: Run, batch: Mapping[str, Any], figures: Figures, *, draw: bool, images: bool) -> Tensor:
    """Loss of each picture before weighting, (B,). All draws are made, whether used or not."""
    recording, index, settings = run.recording, batch["index"], run.settings
    latents = recording.step(index, "latents").to(run.model.unet.dtype)
    if batch["latents_were_cached"]:
        pass  # drawn by the VAE before the run, from a generator state that is not recorded
    elif images:
        recorded = recording.tensors.get(f"step{index:03d}.images_u8")
        ours = latents_of(run.model.vae, settings, batch, recording.root, recorded)
        figures.see("latents_max_abs", ours, latents)
        latents = ours
    else:
        torch.randn(latents.shape, dtype=run.model.vae.dtype)  # where the VAE draws
    tokens = tokenize(
        run.model.tokenizers[0],
        batch["captions"],
        settings.captions.max_token_length,
        weighted=settings.captions.weighted_captions,
    )
    hidden = encode_text(run.model.text_encoders[0], tokens, settings.captions.clip_skip)
    figures.see("hidden_max_abs", hidden.detach(), recording.step(index, "text_hidden_states"))
    noise, timesteps, noisy = _noise(run, latents, figures, index, draw=draw)
    pred = run.model.predict_noise(noisy.to(run.model.unet.dtype), timesteps, hidden)
    figures.see("pred_max_abs", pred.detach(), recording.step(index, "model_pred"))
    scheduler = run.model.noise_scheduler
    target = target_for(scheduler, run.model.prediction_type, latents, noise, timesteps)
    chosen = settings.loss
    threshold = huber_threshold(
        timesteps, scheduler.alphas_cumprod, chosen.huber_schedule, chosen.huber_c, chosen.huber_scale
    )
    return distance(pred, target, chosen.loss_type, threshold)


def _noise(
    run: Run, latents: Tensor, figures: Figures, index: int, *, draw: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Noise, timesteps and noisy latents: ours with `draw`, else the recorded ones."""
    recording, chosen = run.recording, run.settings.noise
    original = chosen.noise_offset_type == "Original"
    noise = noises.draw_noise(
        latents,
        noise_offset=chosen.noise_offset if original else 0.0,
        noise_offset_random_strength=chosen.noise_offset_random_strength,
        adaptive_noise_scale=chosen.adaptive_noise_scale,
        multires_noise_iterations=0 if original else chosen.multires_noise_iterations,
        multires_noise_discount=chosen.multires_noise_discount,
    )
    timesteps = noises.draw_timesteps(len(latents), chosen.min_timestep, chosen.max_timestep)
    recorded = recording.step(index, "timesteps").flatten()
    if draw:
        figures.see("noise_max_abs", noise, recording.step(index, "noise"))
        figures.see("noise_max_abs", timesteps, recorded)
    else:
        noise, timesteps = recording.step(index, "noise"), recorded
    noisy = noises.add_noise(
        run.model.noise_scheduler,
        latents,
        noise,
        timesteps,
        ip_noise_gamma=chosen.ip_noise_gamma,
        ip_noise_gamma_random_strength=chosen.ip_noise_gamma_random_strength,
    )
    if draw:
        figures.see("noisy_max_abs", noisy, recording.step(index, "noisy_latents"))
    return noise, timesteps, noisy


def _change_weights(run: Run, step: Mapping[str, Any], figures: Figures) -> None:
    """Clip, step, and compare the rates before and after."""
    optimizer, network = run.optimizer, run.settings.network
    relative_step = "adafactor_lr" in step  # its `lrs` were recorded by reference: all show the last step's
    if not relative_step:
        figures.see("lr_max_rel", _rates(optimizer, "lr"), step["lrs"], relative=True)
    if step.get("d"):
        figures.see("d_max_rel", _rates(optimizer, "d"), step["d"], relative=True)
    limit = run.settings.optimizer.max_grad_norm or float("inf")
    weights = [weight for weight in run.network.parameters() if weight.grad is not None]
    norm = torch.nn.utils.clip_grad_norm_(weights, limit)
    if step["grad_total_norm_before_clip"] is not None:
        figures.see("grad_norm_max_rel", norm, step["grad_total_norm_before_clip"], relative=True)
    optimizer.step()
    if isinstance(optimizer, Adafactor) and relative_step:
        used = [
            optimizer._get_lr(group, optimizer.state[group["params"][0]]) for group in optimizer.param_groups
        ]
        figures.see("lr_max_rel", [float(rate) for rate in used], step["adafactor_lr"], relative=True)
    run.lr_scheduler.step()
    optimizer.zero_grad(set_to_none=True)  # weights in no group keep theirs, as in the reference
    if network.scale_weight_norms:
        run.network.scale_weight_norms(network.scale_weight_norms)
    if step.get("d_after"):
        figures.see("d_max_rel", _rates(optimizer, "d"), step["d_after"], relative=True)


def _rates(optimizer: torch.optim.Optimizer, name: str) -> list[float]:
    return [float(group[name]) for group in optimizer.param_groups]


def _verdict(run: Run, figures: Figures, *, bf16: bool) -> dict[str, Any]:
    """The line to print."""
    start = run.recording.initial
    theirs = {key: tensor.float() for key, tensor in run.recording.final.items()}
    moved = [key for key in theirs if not key.endswith(".alpha")]
    written = _written(run, run.network.state_dict())
    keys_equal = _layout(written) == _layout(run.recording.final)
    if keys_equal:
        figures.largest["lora_rel"] = _norm(written[key].float() - theirs[key] for key in moved) / max(
            _norm(theirs[key] - start[key] for key in moved), 1e-30
        )
    bounds = dict(BF16_BOUNDS if bf16 else BOUNDS)
    if run.settings.optimizer.optimizer.startswith(FINDS_RATE):
        bounds.pop("lora_rel")
    within = all(figures.largest.get(name, 0.0) <= bound for name, bound in bounds.items())
    shown = {name: float(f"{value:.3g}") for name, value in figures.largest.items()}
    return {
        "trace": run.recording.folder.name,
        **shown,
        "keys_equal": keys_equal,
        "ok": within and keys_equal,
    }


def _written(run: Run, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the file that our writer writes."""
    saving = run.settings.saving
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"replay.{saving.save_model_as}"
        save_lora(path, tensors, {}, DTYPES[saving.save_precision])
        return load_lora(path)[0]


def _layout(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Key, shape and number format; of an alpha its value too."""
    return {
        key: (tuple(tensor.shape), tensor.dtype, float(tensor) if key.endswith(".alpha") else None)
        for key, tensor in tensors.items()
    }


def _norm(tensors: Iterable[Tensor] | Iterator[Tensor]) -> float:
    return sum(float(tensor.double().pow(2).sum()) for tensor in tensors) ** 0.5


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trace", type=Path)
    parser.add_argument("--root", type=Path, default=Path("../shared/parity"))
    parser.add_argument("--draw", action="store_true", help="draw noise and timesteps ourselves")
    parser.add_argument("--images", action="store_true", help="make the latents from the pictures")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    recording = Recording(chosen.trace.resolve(), chosen.root.resolve())
    line = replay(recording, draw=chosen.draw, images=chosen.images)
    print(json.dumps(line))
    return 0 if line["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
