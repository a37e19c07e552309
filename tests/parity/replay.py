"""Run our trainer's own steps over a recorded run of the reference and print how far apart they are.

    python -m tests.parity.replay TRACE_DIR [--root DIR] [--draw] [--images]

Without options the recorded latents, noise and timesteps are fed. `--draw`: our noise code draws from the
recorded generator state. `--images`: our picture pipeline and VAE make the latents. Prints one JSON line
and exits 0 only if all figures are within bounds.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers.models.attention_processor import AttnProcessor
from peft.tuners import lora
from torch import Tensor, nn
from transformers.optimization import Adafactor

from tests.parity.drawn import Drawer, Drawn, following, shuffle
from tests.parity.pictures import latents_of, same_pictures
from tests.parity.recording import Recording
from trainer.data.buckets import BucketRule
from trainer.data.datasets import bucket_rule
from trainer.data.picture_files import read_picture_header
from trainer.kohya import from_sd_scripts
from trainer.kohya.sd_defaults import DEFAULTS
from trainer.models.base import BaseModel, Conditioning, Framing
from trainer.models.checkpointing import enable_gradient_checkpointing
from trainer.models.lean.convolution import FrozenConv2d
from trainer.models.sdxl import time_ids
from trainer.network.lean_linear import LeanLinear
from trainer.network.lean_pointwise import LeanPointwise
from trainer.network.lora_file import DTYPES, load_lora, save_lora
from trainer.network.network import build_network
from trainer.plan.lr_schedule import build_lr_scheduler
from trainer.settings import Settings
from trainer.training import loop
from trainer.training.batches import Batch, told_corner
from trainer.training.build import Parts
from trainer.training.encode import caption_encoder, open_base_model
from trainer.training.grad_scaling import SkippedSteps
from trainer.training.learner import build_rates
from trainer.training.optimizer import set_training
from trainer.training.position import Position
from trainer.training.precision import pick_precision
from trainer.training.prepare import Computing, autocast_name, caches_latents

BOUNDS = {
    "hidden_max_abs": 2e-5,
    "pooled_max_abs": 2e-5,
    "ids_wrong": 0.0,
    "time_ids_wrong": 0.0,
    "pred_max_abs": 2e-5,
    "loss_max_abs": 2e-6,
    "grad_norm_max_rel": 1e-5,
    "lr_max_rel": 1e-6,
    "d_max_rel": 1e-4,
    "lora_rel": 2e-3,
    "noise_max_abs": 0.0,
    "latents_max_abs": 2e-3,
    "captions_wrong": 0.0,
}
BF16_BOUNDS = {
    "loss_max_abs": 5e-3,
    "lora_rel": 0.1,
    "lr_max_rel": 1e-6,
    "d_max_rel": 0.1,
    "noise_max_abs": 0.0,
    "ids_wrong": 0.0,
    "time_ids_wrong": 0.0,
}
ROUNDING_NOISE = re.compile(r"lora_unet_(input_blocks_[12]|output_blocks_[678])_0_emb_layers_1\.")
"""Modules of the tiny SDXL without a gradient: one channel per norm group takes the time embedding out."""
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


NO_MATTER = frozenset((
    "metadata_usage_hint", "metadata_thumbnail", "metadata_merged_from", "metadata_trigger_phrase",
    "metadata_preprocessor", "metadata_is_negative_embedding", "no_metadata", "sample_prompts",
    "caption_separator", "keep_tokens_separator", "secondary_separator", "enable_wildcard", "caption_prefix",
    "caption_suffix", "token_warmup_min", "token_warmup_step", "caption_tag_dropout_rate",
    "dataset_repeats", "save_n_epoch_ratio", "cpu_offload_checkpointing", "validation_split",
    "validate_every_n_steps", "validate_every_n_epochs", "max_validation_steps",
))  # fmt: skip
"""Options without a setting that change no number here: captions are recorded as they were learned."""


class CannotReplayError(Exception):
    """An option that changes the numbers and has no setting of ours."""


def settings_of(args: Mapping[str, Any], *, sdxl: bool | None = None) -> Settings:
    """Settings from all resolved options; none that matters may get lost. Raises CannotReplayError.

    Of two rates for the text encoders the reference took the first for both.
    """
    first = list(args.get("text_encoder_lr") or ())[:1]
    imported = from_sd_scripts({**args, **({"text_encoder_lr": first} if first else {})}, sdxl=sdxl)
    lost = {
        entry.key: entry.was
        for entry in imported.report.entries
        if entry.attention and entry.key not in NO_MATTER
    }
    unknown = args.keys() - DEFAULTS.keys()
    lost |= {option: args[option] for option in unknown if args[option]}
    if lost:
        raise CannotReplayError(", ".join(f"{option}={value}" for option, value in lost.items()))
    return imported.settings


def build_run(recording: Recording) -> Parts:
    """Settings through our own import, then everything else from the settings.

    What feeds the loop and what it writes is left out: the recording takes its place. Raises
    CannotReplayError where an option changes the numbers and has no setting of ours.
    """
    args = recording.args
    settings = settings_of(args, sdxl=recording.sdxl)
    device = torch.device("cpu")  # as the recordings were made
    precision = pick_precision(settings.machine.mixed_precision, device)
    AcceleratorState._reset_state()
    accelerator = Accelerator(cpu=True, mixed_precision=autocast_name(precision))
    model = open_base_model(settings, Computing(device, precision), _ignore)
    network = build_network(
        model,
        settings.network,
        dtype=precision.dtype if args["full_bf16"] or args["full_fp16"] else torch.float32,
        train_denoiser=not args["network_train_text_encoder_only"],
        train_text_encoder=not args[
            "network_train_unet_only"
        ],  # with rate 0 its LoRA is in the file all the same
    )
    network.load(recording.initial)
    if settings.machine.xformers == "none" and precision.dtype != torch.float32:
        _round_as_recorded(model)
    if settings.machine.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    optimizer = build_rates(settings.optimizer, network, device, _ignore)
    learning = bool(network.parameters("text_encoder"))
    nothing: Any = None
    return Parts(
        settings=settings,
        plan=nothing,
        seed=0,
        accelerator=accelerator,
        model=model,
        network=network,
        data=nothing,
        cached=nothing,
        captions=caption_encoder(settings.captions, model, device, learning=learning),
        optimizer=accelerator.prepare(optimizer),
        lr_scheduler=build_lr_scheduler(settings.optimizer, optimizer, int(args["max_train_steps"])),
        saver=nothing,
        keeper=nothing,
        sampler=nothing,
        judge=nothing,
        skipped=SkippedSteps(_ignore),
        start=Position(),
    )


def _round_as_recorded(model: BaseModel) -> None:
    """Single operations, as the reference has them: those made into one round half precision at fewer places.

    A few steps of Adam make much of that; in float32 it does not show, and there all stays as it is.
    """
    denoiser: Any = model.denoiser
    denoiser.set_attn_processor(AttnProcessor())
    plain = {FrozenConv2d: nn.Conv2d, LeanLinear: lora.Linear, LeanPointwise: lora.Conv2d}
    for part in (denoiser, *model.text_encoders):
        for module in part.modules():
            module.__class__ = plain.get(type(module), type(module))


def _ignore(_event: Any) -> None:
    """Notices of a run are of no interest here."""


def replay(recording: Recording, *, draw: bool = False, images: bool = False) -> dict[str, Any]:
    """All figures of one recording."""
    parts = build_run(recording)
    set_training(parts.optimizer, True)
    figures = Figures()
    steps = {step["after_microbatch"]: step for step in recording.trace["optim_steps"]}
    for batch, drawn in _batches(recording, bucket_rule(parts.settings.images), figures):
        torch.set_rng_state(recording.step(batch["index"], "torch_rng_state"))
        _micro_step(parts, recording, batch, drawn, figures, draw=draw, images=images)
        if batch["index"] in steps:
            _change_weights(parts, steps[batch["index"]], figures)
    set_training(parts.optimizer, False)
    return _verdict(parts, recording, figures)


def _batches(
    recording: Recording, rule: BucketRule, figures: Figures
) -> Iterator[tuple[Mapping[str, Any], list[Drawn]]]:
    """The micro-batches with what was drawn for their pictures; Python's `random` stands as it stood then.

    Our steps draw from it between two of them, as the reference's did.
    """
    drawer = Drawer(recording.args, rule, recording.pictures, recording.root)
    batches = recording.trace["microbatches"]

    def is_first(drawn: Sequence[Drawn]) -> bool:
        told = [one.flipped for one in drawn] == batches[0]["flippeds"]
        pictures = recording.tensors.get("step000.images_u8")
        return (
            told
            and not any(_differ(batches[0], drawn))
            and same_pictures(rule, drawn, recording.root, pictures)
        )

    fetched: deque[list[Drawn]] = deque()
    shuffled = 0
    for kind, what, *_ in recording.trace["events"]:
        if kind == "shuffle_buckets":
            shuffle(what)
            shuffled += 1
        elif kind == "getitem" and shuffled == 1 and not fetched:
            fetched.append(drawer.first(what, recording.chance("after prepare_grad_etc"), is_first))
        elif kind == "getitem":
            fetched.append(drawer.batch(what))
        elif kind == "process_batch":
            drawn = fetched.popleft()
            figures.see("captions_wrong", sum(_differ(batches[what], drawn)), 0)
            if expected := recording.chance(f"micro-batch {what} start"):
                figures.see("chance_max_abs", following(), expected)
            yield batches[what], drawn


def _differ(batch: Mapping[str, Any], drawn: Sequence[Drawn]) -> Iterator[bool]:
    return (one.caption != caption for one, caption in zip(drawn, batch["captions"], strict=True))


def _micro_step(
    parts: Parts,
    recording: Recording,
    batch: Mapping[str, Any],
    drawn: Sequence[Drawn],
    figures: Figures,
    *,
    draw: bool,
    images: bool,
) -> None:
    """train.micro_step with the recorded batch. All draws are made, whether their result is used or not."""
    index = batch["index"]
    parts.network.next_batch()
    latents = _latents(parts, recording, batch, drawn if images else None, figures)
    with parts.accelerator.autocast():
        conditioning = parts.captions(batch["captions"])
    _see_texts(parts, recording, batch, conditioning, figures)
    noise, timesteps = loop.draw_noise_and_timesteps(parts, latents)
    recorded = recording.step(index, "timesteps").flatten()
    if draw:
        figures.see("noise_max_abs", noise, recording.step(index, "noise"))
        figures.see("noise_max_abs", timesteps, recorded)
    else:
        noise, timesteps = recording.step(index, "noise").to(latents.dtype), recorded

    def listen(noisy_latents: Tensor, *inputs: Any) -> Tensor:
        pred = type(parts.model).predict(parts.model, noisy_latents, *inputs)
        seen = noisy_latents.to(parts.model.dtype)
        figures.see("noisy_max_abs", seen, recording.step(index, "noisy_latents"))
        figures.see("pred_max_abs", pred.detach(), recording.step(index, "model_pred"))
        return pred

    model: Any = parts.model
    model.predict = listen
    framing = framing_of(parts.settings, drawn, recording.root)
    if recording.sdxl:
        figures.see("time_ids_wrong", (time_ids(framing) != recording.step(index, "time_ids")).sum(), 0)
    ours = Batch(tuple(batch["captions"]), torch.tensor(batch["loss_weights"]), (), (), framing)
    loss = loop.batch_loss(parts, ours, latents, conditioning, noise, timesteps)
    figures.see("loss_max_abs", loss.detach(), batch["loss"])
    parts.accelerator.backward(loss / parts.accumulation_steps)


def _see_texts(
    parts: Parts,
    recording: Recording,
    batch: Mapping[str, Any],
    conditioning: Conditioning,
    figures: Figures,
) -> None:
    """Token ids and weights, text embeddings and pooled vector beside the recorded ones."""
    step = partial(recording.step, batch["index"])
    ends = ("1", "2") if recording.sdxl else ("",)
    model: Any = parts.model
    for end, tokens in zip(ends, model.tokens(batch["captions"]), strict=True):
        for name, ours in ((f"input_ids{end}", tokens.ids), (f"token_weights{end}", tokens.weights)):
            if recording.has(batch["index"], name):
                theirs = step(name)
                wrong = theirs.numel() if ours is None else int((ours.reshape(theirs.shape) != theirs).sum())
                figures.see("ids_wrong", wrong, 0)
    theirs = torch.cat([step(f"text_hidden_states{end}") for end in ends], dim=-1)
    figures.see("hidden_max_abs", conditioning.embeds.detach(), theirs)
    if conditioning.pooled is not None:
        figures.see("pooled_max_abs", conditioning.pooled.detach(), step("pooled2"))


def framing_of(settings: Settings, drawn: Sequence[Drawn], root: Path) -> Framing:
    """How our pipeline cuts the recorded pictures, and what it tells of it."""
    rule = bucket_rule(settings.images)
    headers = [read_picture_header(root / one.key) for one in drawn]
    sizes = [(header.width, header.height) for header in headers]
    fits = [rule.fit(*size) for size in sizes]
    by_bars = rule.enable or caches_latents(settings.images)
    corners = [
        told_corner(fit, size, flip=one.flipped, by_bars=by_bars)
        for fit, size, one in zip(fits, sizes, drawn, strict=True)
    ]
    return Framing(sizes, corners, fits[0].bucket)


def _latents(
    parts: Parts,
    recording: Recording,
    batch: Mapping[str, Any],
    drawn: Sequence[Drawn] | None,
    figures: Figures,
) -> Tensor:
    """The recorded latents; with `drawn` those that our pictures and VAE give."""
    index = batch["index"]
    latents = recording.step(index, "latents").to(parts.model.dtype)
    if batch["latents_were_cached"]:
        return latents  # drawn by the VAE before the run, from a generator state that is not recorded
    if drawn is None:
        torch.randn(latents.shape, dtype=next(parts.model.vae.parameters()).dtype)  # where the VAE draws
        return latents
    ours = latents_of(parts.model, bucket_rule(parts.settings.images), drawn, recording.root)
    ours = ours.to(latents.dtype)  # half the digits in the reference's bf16 runs; ours keep them all
    figures.see("latents_max_abs", ours, latents)
    return ours


def _change_weights(parts: Parts, step: Mapping[str, Any], figures: Figures) -> None:
    """train.change_weights, with the rates before and after it."""
    groups = parts.optimizer.param_groups
    relative_step = "adafactor_lr" in step  # its `lrs` were recorded by reference: all show the last step's
    if not relative_step:
        figures.see("lr_max_rel", [group["lr"] for group in groups], step["lrs"], relative=True)
    if step.get("d"):
        figures.see("d_max_rel", [group["d"] for group in groups], step["d"], relative=True)
    norm = loop.change_weights(parts)
    if step["grad_total_norm_before_clip"] is not None:
        figures.see("grad_norm_max_rel", norm, step["grad_total_norm_before_clip"], relative=True)
    if relative_step:
        adafactor: Any = getattr(parts.optimizer, "optimizer", parts.optimizer)
        assert isinstance(adafactor, Adafactor)
        used = [float(adafactor._get_lr(group, adafactor.state[group["params"][0]])) for group in groups]
        figures.see("lr_max_rel", used, step["adafactor_lr"], relative=True)
    if step.get("d_after"):
        figures.see("d_max_rel", [group["d"] for group in groups], step["d_after"], relative=True)


def _verdict(parts: Parts, recording: Recording, figures: Figures) -> dict[str, Any]:
    """The line to print."""
    start = recording.initial
    theirs = {key: tensor.float() for key, tensor in recording.final.items()}
    moved = [key for key in theirs if not (key.endswith(".alpha") or ROUNDING_NOISE.match(key))]
    written = _written(parts)
    keys_equal = _layout(written) == _layout(recording.final)
    if keys_equal:
        figures.largest["lora_rel"] = _norm(written[key].float() - theirs[key] for key in moved) / max(
            _norm(theirs[key] - start[key] for key in moved), 1e-30
        )
    bounds = dict(BF16_BOUNDS if parts.model.dtype == torch.bfloat16 else BOUNDS)
    if parts.settings.optimizer.optimizer.startswith(FINDS_RATE):
        bounds.pop("lora_rel")
    within = all(figures.largest.get(name, 0.0) <= bound for name, bound in bounds.items())
    shown = {name: float(f"{value:.3g}") for name, value in figures.largest.items()}
    return {
        "trace": recording.folder.name,
        **shown,
        "keys_equal": keys_equal,
        "ok": within and keys_equal,
    }


def _written(parts: Parts) -> dict[str, Tensor]:
    """The tensors of the file that our writer writes."""
    saving = parts.settings.saving
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"replay.{saving.save_model_as}"
        save_lora(path, parts.network.state_dict(), {}, DTYPES[saving.save_precision])
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
    try:
        line = replay(recording, draw=chosen.draw, images=chosen.images)
    except CannotReplayError as cannot:
        line = {"trace": recording.folder.name, "error": f"cannot replay: {cannot}", "ok": False}
    print(json.dumps(line))
    return 0 if line["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
