"""SimpleTuner's settings: the options of its command in a JSON."""

from __future__ import annotations

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
FAMILIES = ("sd1x", "sd15", "sd2x", "sd20", "sd21", "sdxl")
SAMPLE = {"validation_guidance": "l", "validation_num_inference_steps": "s", "validation_seed": "d"}
NEGATIVE = "validation_negative_prompt"


def taken(flat: Flat) -> Taken:
    """Its settings in sd-scripts' words."""
    found = Taken(flat)
    found.take_all(NAMES)
    family = found.word("model_family")
    found.known_family("model_family", FAMILIES)
    found.sdxl = "xl" in family
    found.take("v2", "model_family", family.startswith("sd2") or None)
    if number(flat.get("num_train_epochs") or 0):
        found.take("max_train_epochs", "num_train_epochs", flat["num_train_epochs"])
        found.options.pop("max_train_steps", None)
    found.optimizer("optimizer")
    found.schedule("lr_scheduler")
    found.precision("mixed_precision", "mixed_precision")
    size = number(flat.get("resolution") or "")
    if size and (size >= 64 or found.word("resolution_type").startswith("pixel")):
        found.sizes("resolution")
        found.used.add("resolution_type")
    found.switch("gradient_checkpointing", "gradient_checkpointing")
    found.switch("zero_terminal_snr", "rescale_betas_zero_snr")
    if found.word("prediction_type"):
        found.take("v_parameterization", "prediction_type", found.word("prediction_type").startswith("v"))
    if is_on(flat.get("offset_noise")):  # a switch; the other says how much
        found.take("noise_offset", "noise_offset", flat.get("noise_offset", 0.1))
        found.used.add("offset_noise")
    if not is_on(flat.get("train_text_encoder")):
        found.take("network_train_unet_only", "train_text_encoder", True)
    if found.word("model_type") == "lora":
        found.used.add("model_type")
    if found.word("lora_type") == "standard":
        found.used.add("lora_type")
    _samples(found)
    return found


def _samples(found: Taken) -> None:
    prompt = str(found.flat.get("validation_prompt") or "").strip()
    if not prompt:
        return
    width, _, height = found.word("validation_resolution").split(",")[0].partition("x")
    sizes = {"w": width, "h": height or width}
    values = {**sizes, **{letter: found.flat.get(key) for key, letter in SAMPLE.items()}}
    values["n"] = found.flat.get(NEGATIVE)
    options = "".join(f" --{letter} {value}" for letter, value in values.items() if value not in (None, ""))
    found.prompts = "validation_prompt", [" ".join(prompt.split()) + options]
    found.used |= {"validation_prompt", "validation_resolution", NEGATIVE, *SAMPLE}
