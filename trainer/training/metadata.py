"""What a LoRA file tells about its making: kohya's `ss_…` entries and the `modelspec.…` standard.

User interfaces show and filter by these. They hold no secrets and no folders of the person's computer.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.data.datasets import Dataset, datasets_of
from trainer.data.folders import TrainImage
from trainer.families.table import named_by
from trainer.files.file_hashes import legacy_file_hash
from trainer.files.job_folder import default_workspace
from trainer.files.remembered_hashes import remembered_hash
from trainer.kohya import to_sd_scripts
from trainer.kohya.sd_defaults import DEFAULTS
from trainer.plan.run import Plan
from trainer.settings import TRAINING, Settings
from trainer.training.picture_metadata import TrainedPictures, by_dataset_file, picture_entries
from trainer.training.position import Position

if TYPE_CHECKING:
    from trainer.models.base import BaseModel

PROGRAM = "LoRA Atelier"
SAME_NAMES = (
    "adaptive_noise_scale", "bucket_no_upscale", "cache_latents", "caption_dropout_every_n_epochs",
    "caption_dropout_rate", "caption_tag_dropout_rate", "clip_skip", "color_aug", "enable_bucket",
    "face_crop_aug_range", "flip_aug", "fp8_base", "fp8_base_unet", "full_fp16",
    "gradient_accumulation_steps", "gradient_checkpointing", "huber_c", "huber_scale", "huber_schedule",
    "ip_noise_gamma", "ip_noise_gamma_random_strength", "keep_tokens", "learning_rate", "loss_type",
    "lr_scheduler", "max_bucket_reso", "max_grad_norm", "max_token_length", "max_validation_steps",
    "min_bucket_reso", "min_snr_gamma", "mixed_precision", "multires_noise_discount",
    "multires_noise_iterations", "network_dropout", "network_module", "noise_offset",
    "noise_offset_random_strength", "output_name", "prior_loss_weight", "random_crop",
    "resize_interpolation", "scale_weight_norms", "shuffle_caption", "training_comment", "unet_lr",
    "v2", "validate_every_n_epochs", "validate_every_n_steps", "validation_seed", "validation_split",
    "zero_terminal_snr",
)  # fmt: skip
"""sd-scripts' options that appear as ss_<option>."""


@dataclass(frozen=True)
class RunFacts:
    """What is known when a run begins."""

    settings: Settings
    plan: Plan
    images: Sequence[TrainImage]
    """Training and regularisation pictures, the latter as often as they are matched."""
    model: BaseModel
    seed: int
    targets: Sequence[Any] = ()
    """The network's LoraTargets: true ranks and alphas where they do not stand in the settings."""
    optimizer: str = ""
    """Its class and arguments (trainer.optimizer.describe)."""
    started: float = field(default_factory=time.time)
    session: int = field(default_factory=lambda: secrets.randbelow(2**32))
    hashes: dict[str, str] = field(default_factory=dict)
    """Hashes of the base model, filled at the first use."""
    datasets: Sequence[Dataset] = field(default=(), kw_only=True)
    """The pictures' rules; () for those of the settings."""

    def __post_init__(self) -> None:
        if not self.datasets:
            object.__setattr__(self, "datasets", datasets_of(self.settings))


def build_metadata(facts: RunFacts, position: Position) -> dict[str, str]:
    """All entries for a file saved at `position`. The hashes of the file itself come with its writing."""
    # As sd-scripts would have been called: other programs read its options back.
    options = {**DEFAULTS, **to_sd_scripts(facts.settings)}
    entries: dict[str, Any] = {f"ss_{name}": options.get(name) for name in SAME_NAMES}
    entries |= _run_entries(facts, position)
    entries |= _size_entries(facts)
    entries |= picture_entries(TrainedPictures(facts.datasets, facts.images))
    # After `picture_entries`, which says 0.
    if facts.plan.judging:
        entries["ss_num_validation_images"] = len(facts.plan.judging.held_out)
    entries |= _model_entries(facts)
    entries |= _other_entries(facts, options)
    same, different = by_dataset_file(facts.datasets, facts.settings.length.gradient_accumulation_steps)
    # What differs from dataset to dataset has no single value: `ss_datasets` tells it.
    entries = {key: value for key, value in {**entries, **same}.items() if key not in different}
    entries = {key: str(value) for key, value in entries.items()}
    return {**entries, **modelspec(facts)}


def modelspec(facts: RunFacts) -> dict[str, str]:
    """https://github.com/Stability-AI/ModelSpec, version 1.0.1."""
    settings, family = facts.settings, named_by(facts.settings.model)
    v_prediction = settings.model.v_parameterization
    saving, noise = settings.saving, settings.noise
    # Of several resolutions the largest: what the LoRA can do.
    width, height = max((dataset.rule.resolution for dataset in facts.datasets), key=math.prod)
    entries = {
        "sai_model_spec": "1.0.1",
        "architecture": family.architecture_v if v_prediction else family.architecture,
        "implementation": family.implementation,
        "implementation_version": f"{PROGRAM}/{program_version()}",
        "title": saving.metadata_title or settings.folders.output_name,
        "resolution": f"{width}x{height}",
        "date": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "prediction_type": "v" if v_prediction else "epsilon",
        "author": saving.metadata_author,
        "description": saving.metadata_description,
        "license": saving.metadata_license,
        "tags": saving.metadata_tags,
        "encoder_layer": str(settings.captions.clip_skip) if settings.captions.clip_skip > 1 else "",
    }
    if noise.min_timestep > 0 or noise.max_timestep < TRAINING["max_timestep"].default:
        entries["timestep_range"] = f"{noise.min_timestep},{noise.max_timestep}"
    return {f"modelspec.{key}": value for key, value in entries.items() if value}


def program_version() -> str:
    """Ours; blank for a checkout that is not installed."""
    try:
        return version("lora-atelier")
    except PackageNotFoundError:
        return "0"


def _run_entries(facts: RunFacts, position: Position) -> dict[str, Any]:
    """Time and length."""
    plan, length = facts.plan, facts.settings.length
    epoch = position.epoch - 1 if position.batch == 0 else position.epoch
    return {
        "ss_session_id": facts.session,
        "ss_training_started_at": facts.started,
        "ss_training_finished_at": time.time(),
        "ss_seed": facts.seed,
        "ss_epoch": max(1, min(epoch, plan.epochs)),
        "ss_num_epochs": plan.epochs,
        "ss_steps": position.step,
        "ss_max_train_steps": plan.total_steps,
        "ss_num_batches_per_epoch": plan.batches_per_epoch,
        "ss_lr_warmup_steps": plan.warmup_steps,
        "ss_batch_size_per_device": length.train_batch_size,
        "ss_total_batch_size": length.train_batch_size * length.gradient_accumulation_steps,
    }


def _size_entries(facts: RunFacts) -> dict[str, Any]:
    """Rank and alpha: of the settings, or what most modules have when they come from a file."""
    network = facts.settings.network
    if not (network.dim_from_weights and network.network_weights and facts.targets):
        return {"ss_network_dim": network.network_dim, "ss_network_alpha": float(network.network_alpha)}
    # Sizes from a file may differ from module to module; programs show one number.
    (dim, alpha), _ = Counter((target.dim, target.alpha) for target in facts.targets).most_common(1)[0]
    return {"ss_network_dim": dim, "ss_network_alpha": float(alpha)}


def _model_entries(facts: RunFacts) -> dict[str, Any]:
    """The base model by file name and hashes, never by its path."""
    model = facts.model
    family, v_prediction = named_by(facts.settings.model), facts.settings.model.v_parameterization
    entries = {
        "ss_base_model_version": family.version_v if v_prediction else family.version,
        **_file_entries(model.source, "sd_model", facts),
    }
    return entries | (_file_entries(model.vae_source, "vae", facts) if model.vae_source else {})


def _file_entries(source: str, kind: str, facts: RunFacts) -> dict[str, str]:
    path = Path(source).expanduser()
    if not path.exists():
        on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", source)
        return {f"ss_{kind}_name": source if on_hub else re.split(r"[\\/]", source)[-1]}
    entries = {f"ss_{kind}_name": path.name}
    if path.is_file():
        # Gigabytes: once per run, and remembered from run to run.
        if kind not in facts.hashes:
            facts.hashes[kind] = remembered_hash(path, default_workspace() / "hashes.json")
        entries |= {f"ss_{kind}_hash": legacy_file_hash(path), f"ss_new_{kind}_hash": facts.hashes[kind]}
    return entries


def _other_entries(facts: RunFacts, options: Mapping[str, Any]) -> dict[str, Any]:
    """Entries under another name than their option, or in another form."""
    settings = facts.settings
    pairs = (str(pair).partition("=") for pair in options.get("network_args") or ())
    arguments = {name: value for name, _, value in pairs}
    entries = {
        "ss_debiased_estimation": options["debiased_estimation_loss"],
        "ss_lowram": settings.machine.lowvram,
        "ss_optimizer": facts.optimizer or settings.optimizer.optimizer,
        "ss_text_encoder_lr": _rates(settings.optimizer.text_encoder_lr),
        "ss_sd_scripts_commit_hash": f"{PROGRAM} {program_version()}",
    }
    if arguments:
        dropout = settings.network.network_dropout or None
        entries["ss_network_args"] = _as_json({**arguments, "dropout": dropout})
    return entries


def _rates(rate: float | tuple[float, ...] | None) -> Any:
    """One rate, or two with a blank between them."""
    # sd-scripts writes its list like this.
    return " ".join(map(str, rate)) if isinstance(rate, tuple) else rate


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)
