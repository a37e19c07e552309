"""Options of diffusers' own LoRA scripts: train_dreambooth_lora.py, train_text_to_image_lora.py, …"""

from __future__ import annotations

import re
from typing import Any

from trainer.kohya.foreign.taken import Flat, Taken, is_on, number

SCRIPT = re.compile(r"train_(dreambooth|text_to_image)_lora(_sdxl)?(_advanced)?(_sd15_advanced)?\.py")
NAMES = {
    "pretrained_model_name_or_path": "pretrained_model_name_or_path", "rank": "network_dim",
    "pretrained_vae_model_name_or_path": "vae", "learning_rate": "learning_rate",
    "text_encoder_lr": "text_encoder_lr", "lr_warmup_steps": "lr_warmup_steps",
    "lr_num_cycles": "lr_scheduler_num_cycles", "lr_power": "lr_scheduler_power", "seed": "seed",
    "snr_gamma": "min_snr_gamma", "noise_offset": "noise_offset", "max_train_steps": "max_train_steps",
    "num_train_epochs": "max_train_epochs", "train_batch_size": "train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps", "max_grad_norm": "max_grad_norm",
    "prior_loss_weight": "prior_loss_weight", "output_dir": "output_dir", "logging_dir": "logging_dir",
    "checkpointing_steps": "save_every_n_steps", "validation_epochs": "sample_every_n_epochs",
    "dataloader_num_workers": "max_data_loader_n_workers", "train_data_dir": "train_data_dir",
}  # fmt: skip
SWITCHES = {
    "gradient_checkpointing": "gradient_checkpointing", "random_flip": "flip_aug",
    "enable_xformers_memory_efficient_attention": "xformers", "use_8bit_adam": "use_8bit_adam",
}  # fmt: skip
ADAM = {"adam_weight_decay": "weight_decay", "adam_epsilon": "eps"}
MODEL = "pretrained_model_name_or_path"
MARKS = {
    "rank", "instance_data_dir", "instance_prompt", "class_prompt", "with_prior_preservation",
    "checkpointing_steps", "checkpoints_total_limit", "adam_beta1", "adam_weight_decay", "lr_num_cycles",
    "snr_gamma", "validation_epochs", "num_validation_images", "pretrained_vae_model_name_or_path",
    "enable_xformers_memory_efficient_attention", "dataloader_num_workers", "random_flip", "dataset_name",
}  # fmt: skip
"""Options that sd-scripts and kohya_ss do not have."""
OTHERS = {"network_module", "network_dim", "LoRA_type"}


def is_of_diffusers(keys: set[str]) -> bool:
    """Whether the keys of a file are these scripts' options."""
    return MODEL in keys and bool(keys & MARKS) and not keys & OTHERS


def taken(flat: Flat) -> Taken:
    """Its settings in sd-scripts' words."""
    reading = Taken(flat)
    reading.take_all(NAMES)
    rank = flat.get("rank") or 4  # the scripts' own
    reading.take("network_dim", "rank", rank)
    reading.take(
        "network_alpha", "lora_alpha" if flat.get("lora_alpha") else "rank", flat.get("lora_alpha") or rank
    )
    if flat.get("max_train_steps"):  # goes before the epochs there
        reading.options.pop("max_train_epochs", None)
    reading.sdxl = "xl" in reading.word(MODEL)
    reading.sizes("resolution")
    for key, option in SWITCHES.items():
        reading.switch(option, key)
    if not is_on(flat.get("use_8bit_adam")):
        reading.optimizer("optimizer")
    reading.schedule("lr_scheduler")
    reading.precision("mixed_precision", "mixed_precision")
    _adam(reading)
    if not is_on(flat.get("train_text_encoder")):
        reading.take("network_train_unet_only", "train_text_encoder", True)
    reading.used.add("train_text_encoder")
    _folders(reading)
    if prompt := " ".join(str(flat.get("validation_prompt") or "").split()):
        reading.prompts = "validation_prompt", [prompt]
        reading.used.add("validation_prompt")
    return reading


def _adam(reading: Taken) -> None:
    for key, name in ADAM.items():
        reading.argument("optimizer_args", key, name, reading.flat.get(key))
    betas = [reading.flat.get(key) for key in ("adam_beta1", "adam_beta2")]
    if any(beta is not None for beta in betas):
        own = [beta if beta is not None else usual for beta, usual in zip(betas, (0.9, 0.999), strict=True)]
        reading.argument("optimizer_args", "adam_beta1", "betas", own)
        reading.used.add("adam_beta2")


def _folders(reading: Taken) -> None:
    """DreamBooth's: all pictures of a folder under one sentence, and beside them those of its class."""
    repeats = number(reading.flat.get("repeats"))
    times = int(repeats) if repeats and repeats >= 1 else 1
    if folder := reading.flat.get("instance_data_dir"):
        reading.folder(_folder(reading, folder, "instance_prompt", times))
        reading.used |= {"instance_data_dir", "repeats"}
    if (folder := reading.flat.get("class_data_dir")) and is_on(reading.flat.get("with_prior_preservation")):
        reading.folder({**_folder(reading, folder, "class_prompt", 1), "is_reg": True})
        reading.used |= {"class_data_dir", "with_prior_preservation"}


def _folder(reading: Taken, folder: Any, prompt: str, times: int) -> dict[str, Any]:
    reading.used.add(prompt)
    words = str(reading.flat.get(prompt) or "")
    return {"image_dir": str(folder), "num_repeats": times, **({"class_tokens": words} if words else {})}
