"""The same run in sd-scripts' options.

kohya_ss hands its settings over in these words, so its rules for rates, noise and attention meet here.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from trainer.errors import UserError
from trainer.kohya import networks, schedule_options
from trainer.kohya.command import options as options_of
from trainer.kohya.command import split_command
from trainer.kohya.draft import OWN
from trainer.kohya.read_sd_scripts import OPTION_OF
from trainer.kohya.sd_defaults import DEFAULTS
from trainer.kohya.toml_text import can_say
from trainer.settings import Settings


def to_sd_scripts(settings: Settings, carried: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The same run in sd-scripts' options, without those at sd-scripts' own default.

    Where the length is given in epochs, `max_train_epochs` says so. `carried`: options that came
    from sd-scripts and have no setting here (`Imported.carried`).
    """
    options: dict[str, Any] = {OPTION_OF[key]: settings.get(key) for key in OPTION_OF}
    options |= _network_options(settings) | _rate_options(settings) | _optimizer_options(settings)
    options |= _noise_options(settings) | _other_options(settings)
    of_file = (carried or {}).get(OWN, {}).get("sd_scripts", {})
    extra = {option: value for option, value in of_file.items() if can_say(value)}
    more_args = extra.pop("network_args", [])
    if isinstance(more_args, list) and more_args:
        options["network_args"] = [*(options.get("network_args") or []), *more_args]
    extra |= _typed_options(settings.records.additional_parameters)
    options |= extra
    return {
        option: value
        for option, value in sorted(options.items())
        if option in extra or (option in DEFAULTS and not _says_nothing(option, value))
    }


def _typed_options(text: str) -> dict[str, Any]:
    """Options typed under "Additional parameters": on a command line they would have the last word."""
    try:
        return options_of(split_command(text))[0]
    except UserError:
        return {}


ZERO_MEANS_ABSENT = {
    "save_every_n_epochs", "save_every_n_steps", "save_last_n_epochs", "save_last_n_epochs_state",
    "save_last_n_steps", "save_last_n_steps_state", "sample_every_n_epochs", "sample_every_n_steps",
    "max_train_epochs", "min_timestep", "min_snr_gamma", "v_pred_like_loss", "scale_weight_norms",
    "network_dropout", "noise_offset", "adaptive_noise_scale", "multires_noise_iterations", "ip_noise_gamma",
    "clip_skip", "vae_batch_size", "validate_every_n_steps", "validate_every_n_epochs",
    "max_validation_steps",
}  # fmt: skip


def _says_nothing(option: str, value: Any) -> bool:
    if value is None or value is False or value in ("", []) or value == DEFAULTS[option]:
        return True
    return value == 0 and option in ZERO_MEANS_ABSENT


def _network_options(settings: Settings) -> dict[str, Any]:
    network = settings.network
    return {
        "network_module": networks.network_module(network),
        "network_args": networks.network_args(network, settings.optimizer),
    }


def _rate_options(settings: Settings) -> dict[str, Any]:
    """0 trains a part not at all; blank is the base rate. Each of two encoders (SDXL) has one."""
    unet, text = settings.optimizer.unet_lr, settings.optimizer.text_encoder_lr
    if text == 0 and unet != 0:
        return {"unet_lr": unet, "text_encoder_lr": None, "network_train_unet_only": True}
    if unet == 0 and text != 0:
        return {"unet_lr": None, "text_encoder_lr": _pair(text), "network_train_text_encoder_only": True}
    return {"unet_lr": unet, "text_encoder_lr": _pair(text)}


def _pair(rate: float | tuple[float, float] | None) -> list[float] | None:
    return None if rate is None else list(rate) if isinstance(rate, tuple) else [rate, rate]


WARMUP_REFUSED = ("constant", "adafactor")


def _optimizer_options(settings: Settings) -> dict[str, Any]:
    optimizer = settings.optimizer
    warmup: float = optimizer.lr_warmup_steps or optimizer.lr_warmup / 100
    if settings.folders.dataset_config and not optimizer.lr_warmup_steps and settings.length.max_train_steps:
        warmup = round(optimizer.lr_warmup * settings.length.max_train_steps / 100)
    if optimizer.lr_scheduler in WARMUP_REFUSED or optimizer.lr_scheduler_type:
        warmup = 0  # sd-scripts ends with an error otherwise
    schedule_args, of_schedule = schedule_options.apart(
        optimizer.lr_scheduler, _pieces(optimizer.lr_scheduler_args)
    )
    return {
        "optimizer_args": _pieces(optimizer.optimizer_args),
        "lr_scheduler_args": schedule_args,
        **of_schedule,
        "lr_warmup_steps": warmup,
    }


def _pieces(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _noise_options(settings: Settings) -> dict[str, Any]:
    noise = settings.noise
    multires = noise.noise_offset_type != "Original"
    off = [] if multires else ["multires_noise_iterations", "multires_noise_discount"]
    if noise.noise_offset_type == "Multires":
        off += ["noise_offset", "noise_offset_random_strength", "adaptive_noise_scale"]
    elif not noise.noise_offset:
        off += ["adaptive_noise_scale", "noise_offset_random_strength"]  # sd-scripts refuses them alone
    options = dict.fromkeys(off)
    if multires and not noise.multires_noise_discount:
        options["multires_noise_discount"] = None
    return options


def _other_options(settings: Settings) -> dict[str, Any]:
    length, machine, folders = settings.length, settings.machine, settings.folders
    by_epochs = not length.max_train_steps and not length.max_train_epochs
    return {
        "max_train_steps": length.max_train_steps or None,
        "max_train_epochs": length.epoch if by_epochs else length.max_train_epochs,
        "xformers": machine.xformers == "xformers",
        "sdpa": machine.xformers == "sdpa",
        "dynamo_backend": machine.dynamo_backend,
        "sample_prompts": f"{folders.output_dir}/sample/prompt.txt",
        "wandb_run_name": settings.records.wandb_run_name or folders.output_name,
        "no_half_vae": settings.model.sdxl and settings.model.sdxl_no_half_vae,
        "cache_text_encoder_outputs": settings.model.sdxl
        and settings.captions.sdxl_cache_text_encoder_outputs,
    }
