"""SimpleTuner's settings: its command's options in a JSON, or in the config.env of its first versions."""

from __future__ import annotations

import re
from typing import Any

from trainer.kohya.fitting import as_number
from trainer.kohya.foreign.taken import Flat, Taken, is_on, number

NAMES = {
    "lora_rank": "network_dim", "lora_alpha": "network_alpha", "lora_dropout": "network_dropout",
    "init_lora": "network_weights", "learning_rate": "learning_rate", "text_encoder_lr": "text_encoder_lr",
    "max_train_steps": "max_train_steps", "train_batch_size": "train_batch_size", "seed": "seed",
    "output_dir": "output_dir", "pretrained_model_name_or_path": "pretrained_model_name_or_path",
    "pretrained_vae_model_name_or_path": "vae", "lr_warmup_steps": "lr_warmup_steps",
    "lr_num_cycles": "lr_scheduler_num_cycles", "lr_power": "lr_scheduler_power",
    "gradient_accumulation_steps": "gradient_accumulation_steps", "max_grad_norm": "max_grad_norm",
    "caption_dropout_probability": "caption_dropout_rate", "checkpointing_steps": "save_every_n_steps",
    "checkpoint_step_interval": "save_every_n_steps", "checkpoint_epoch_interval": "save_every_n_epochs",
    "vae_batch_size": "vae_batch_size", "snr_gamma": "min_snr_gamma",
    "validation_steps": "sample_every_n_steps",
    "validation_step_interval": "sample_every_n_steps", "validation_epoch_interval": "sample_every_n_epochs",
}  # fmt: skip
ENV_NAMES = {
    "MODEL_NAME": "pretrained_model_name_or_path", "MAX_NUM_STEPS": "max_train_steps",
    "NUM_EPOCHS": "num_train_epochs", "TRAINING_SEED": "seed", "LR_SCHEDULE": "lr_scheduler",
}  # fmt: skip
"""Variables of config.env that are named otherwise than the option; the others only have capitals."""
ENV_MARKS = {"LORA_RANK", "MODEL_NAME", "MAX_NUM_STEPS", "LR_SCHEDULE", "TRAINING_SEED", "MODEL_FAMILY"}
ASSIGNMENT = re.compile(r"""(?:export\s+)?([A-Z][A-Z0-9_]*)=("[^"]*"|'[^']*'|[^\s#"']*)\s*(?:\#.*)?""")
FAMILIES = ("sd1x", "sd15", "sd2x", "sd20", "sd21", "sdxl")
SAMPLE = {"validation_guidance": "l", "validation_num_inference_steps": "s", "validation_seed": "d"}
NEGATIVE = "validation_negative_prompt"


def options_of_env(text: str) -> dict[str, Any]:
    """The options in a config.env; {} for any other text."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found = [ASSIGNMENT.fullmatch(line) for line in lines]
    texts = {match[1]: match[2].strip("\"'") for match in found if match}
    values = {name: text if as_number(text) is None else as_number(text) for name, text in texts.items()}
    if not all(found) or len(ENV_MARKS & set(values)) < 2:
        return {}
    return {ENV_NAMES.get(name, name.lower()): value for name, value in values.items()}


def taken(flat: Flat) -> Taken:
    """Its settings in sd-scripts' words."""
    reading = Taken(flat)
    reading.take_all(NAMES)
    family = reading.word("model_family")
    reading.known_family("model_family", FAMILIES)
    reading.sdxl = "xl" in (family or reading.word("pretrained_model_name_or_path"))
    reading.take("v2", "model_family", family.startswith("sd2") or None)
    if number(flat.get("num_train_epochs") or 0):
        reading.take("max_train_epochs", "num_train_epochs", flat["num_train_epochs"])
        reading.options.pop("max_train_steps", None)
    reading.optimizer("optimizer")
    reading.schedule("lr_scheduler")
    reading.precision("mixed_precision", "mixed_precision")
    size = number(flat.get("resolution") or "")
    if size and (size >= 64 or reading.word("resolution_type").startswith("pixel")):
        reading.sizes("resolution")
        reading.used.add("resolution_type")
    reading.switch("gradient_checkpointing", "gradient_checkpointing")
    reading.switch("zero_terminal_snr", "rescale_betas_zero_snr")
    if reading.word("prediction_type"):
        reading.take("v_parameterization", "prediction_type", reading.word("prediction_type").startswith("v"))
    if is_on(flat.get("offset_noise")):  # a switch; the other says how much
        reading.take("noise_offset", "noise_offset", flat.get("noise_offset", 0.1))
        reading.used.add("offset_noise")
    if not is_on(flat.get("train_text_encoder")):
        reading.take("network_train_unet_only", "train_text_encoder", True)
    if reading.word("model_type") == "lora":
        reading.used.add("model_type")
    if reading.word("lora_type") == "standard":
        reading.used.add("lora_type")
    _samples(reading)
    return reading


def _samples(reading: Taken) -> None:
    prompt = str(reading.flat.get("validation_prompt") or "").strip()
    if not prompt:
        return
    width, _, height = reading.word("validation_resolution").split(",")[0].partition("x")
    sizes = {"w": width, "h": height or width}
    values = {**sizes, **{letter: reading.flat.get(key) for key, letter in SAMPLE.items()}}
    values["n"] = reading.flat.get(NEGATIVE)
    options = "".join(f" --{letter} {value}" for letter, value in values.items() if value not in (None, ""))
    reading.prompts = "validation_prompt", [" ".join(prompt.split()) + options]
    reading.used |= {"validation_prompt", "validation_resolution", NEGATIVE, *SAMPLE}
