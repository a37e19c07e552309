"""OneTrainer's settings: its JSON of 2023, with all values on top, and today's, with parts of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.files.reading import parse_json, read_bytes
from trainer.kohya.beside import Beside
from trainer.kohya.foreign.taken import Flat, Taken, is_on, number

NAMES = {
    "base_model_name": "pretrained_model_name_or_path", "lora_rank": "network_dim",
    "lora_alpha": "network_alpha", "lora_model_name": "network_weights",
    "dropout_probability": "network_dropout", "learning_rate": "learning_rate",
    "unet_learning_rate": "unet_lr", "text_encoder_learning_rate": "text_encoder_lr",
    "unet.learning_rate": "unet_lr", "text_encoder.learning_rate": "text_encoder_lr",
    "epochs": "max_train_epochs", "batch_size": "train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps", "clip_grad_norm": "max_grad_norm",
    "offset_noise_weight": "noise_offset", "aspect_ratio_bucketing": "enable_bucket", "seed": "seed",
    "force_v_prediction": "v_parameterization", "masked_training": "masked_loss",
    "rescale_noise_scheduler_to_zero_terminal_snr": "zero_terminal_snr", "latent_caching": "cache_latents",
    "image_caching": "cache_latents", "vae.model_name": "vae",
}  # fmt: skip
FAMILIES = ("stable_diffusion_15", "stable_diffusion_20", "stable_diffusion_21", "stable_diffusion_xl")
CONCEPTS = "concept_file_name"
"""Names the file that holds the folders of pictures, where they do not stand in this one."""
ARGUMENTS = ("weight_decay", "d_coef", "eps")
"""Of the optimizer, where the file has a value."""

HARMLESS = {
    "__version", "debug_mode", "debug_dir", "workspace_dir", "cache_dir", "tensorboard", "train_device",
    "temp_device", "clear_cache_before_training", "only_cache", "tensorboard_expose", "tensorboard_port",
}  # fmt: skip
"""What is about its own program or folders, not about what is learned."""


def taken(flat: Flat) -> Taken:
    """Its settings in sd-scripts' words."""
    reading = Taken(flat)
    reading.take_all(NAMES)
    _model(reading)
    reading.sizes("resolution")
    _output(reading)
    reading.precision("train_dtype", "mixed_precision")
    reading.precision("output_dtype", "save_precision")
    reading.switch("gradient_checkpointing", "gradient_checkpointing")
    _optimizer(reading)
    _text_encoder(reading)
    _loss(reading)
    _saves(reading)
    reading.used |= HARMLESS & set(flat)
    return reading


def with_concepts(data: Mapping[str, Any], files: Beside) -> Mapping[str, Any]:
    """The settings with their folders of pictures, also where those are kept in a file that is at hand.

    Raises UserError where that file is none.
    """
    name = data.get(CONCEPTS)
    file = files.find(name, (".json",)) if isinstance(name, str) and not data.get("concepts") else None
    if file is None:
        return data
    # It holds a list alone.
    text = '{"concepts": ' + files.text(read_bytes(file), file.name) + "}"
    return {**data, **parse_json(text, file.name)}


def take_concepts(reading: Taken, data: Mapping[str, Any]) -> None:
    """Its folders of pictures that are switched on: one is the Image folder, several are a dataset file."""
    found = data.get("concepts")
    folders: list[tuple[str, Mapping[str, Any]]] = []
    for at, concept in enumerate(found if isinstance(found, list) else []):
        if not isinstance(concept, Mapping) or not concept.get("path"):
            continue
        start = f"concepts[{at}]"
        if not is_on(concept.get("enabled", True)):
            reading.used |= {key for key in reading.flat if key.startswith(f"{start}.")}
            reading.remarks.append((start, concept["path"], "kohya.concept_off"))
        else:
            reading.used |= {f"{start}.enabled", f"{start}.name"}
            folders.append((start, concept))
    for start, concept in folders:
        _take_folder(reading, start, concept, alone=len(folders) == 1)
    if not found and reading.flat.get(CONCEPTS):
        reading.used.add(CONCEPTS)
        reading.remarks.append((CONCEPTS, reading.flat[CONCEPTS], "kohya.concepts_elsewhere"))


def _take_folder(reading: Taken, start: str, concept: Mapping[str, Any], *, alone: bool) -> None:
    repeats = number(concept.get("balancing", 1))
    whole = repeats is not None and repeats >= 1 and repeats == int(repeats)
    counted = str(concept.get("balancing_strategy", "REPEATS")).upper() == "REPEATS" and whole
    if counted:
        reading.used |= {f"{start}.balancing", f"{start}.balancing_strategy"}
    times = int(repeats) if counted and repeats else 1
    if alone and times == 1:
        reading.take("train_data_dir", f"{start}.path", concept["path"])
    else:
        reading.used.add(f"{start}.path")
        reading.folder({"image_dir": str(concept["path"]), "num_repeats": times})


def _model(reading: Taken) -> None:
    kind = reading.word("model_type")
    reading.known_family("model_type", FAMILIES)
    if "inpainting" in kind or "depth" in kind:
        reading.family = "model_type", str(reading.flat["model_type"])
    reading.sdxl = "_xl_" in kind
    reading.take("v2", "model_type", kind.startswith(FAMILIES[1:3]) or None)
    if reading.word("peft_type") == "loha":
        reading.take("network_module", "peft_type", "lycoris.kohya")
        reading.argument("network_args", "peft_type", "algo", "loha")
    elif reading.word("peft_type") == "lora":
        reading.used.add("peft_type")
    if reading.word("training_method") == "lora":
        reading.used.add("training_method")


def _output(reading: Taken) -> None:
    """ "out/momo.safetensors" as a folder and a name."""
    key = "output_model_destination"
    folder, _, name = str(reading.flat.get(key) or "").replace("\\", "/").rpartition("/")
    reading.take("output_dir", key, folder)
    reading.take("output_name", key, name.removesuffix(".safetensors"))


def _optimizer(reading: Taken) -> None:
    old = "optimizer" in reading.flat
    reading.optimizer("optimizer" if old else "optimizer.optimizer")
    reading.schedule("learning_rate_scheduler")
    start = "" if old else "optimizer."
    for name in ARGUMENTS:
        reading.argument("optimizer_args", start + name, name, reading.flat.get(start + name))
    betas = [f"{start}beta1", f"{start}beta2"]
    if all(reading.flat.get(key) is not None for key in betas):
        reading.argument("optimizer_args", betas[0], "betas", [reading.flat[key] for key in betas])
        reading.used.add(betas[1])
    warmup, cycles = (number(reading.flat.get(f"learning_rate_{key}")) for key in ("warmup_steps", "cycles"))
    if warmup is not None:  # up to 1 it is a share of the run
        reading.take(
            "lr_warmup_steps", "learning_rate_warmup_steps", int(warmup) if warmup > 1 else float(warmup)
        )
    if cycles is not None and reading.options.get("lr_scheduler") == "cosine_with_restarts":
        reading.take("lr_scheduler_num_cycles", "learning_rate_cycles", int(cycles))


def _text_encoder(reading: Taken) -> None:
    for key in ("text_encoder.train", "train_text_encoder"):
        if reading.flat.get(key) is False:
            reading.take("network_train_unet_only", key, True)
    for key in ("unet.train", "train_unet"):
        if reading.flat.get(key) is False:
            reading.take("network_train_text_encoder_only", key, True)
    skip = number(reading.flat.get("text_encoder_layer_skip"))
    if skip is not None and not reading.sdxl:
        reading.take("clip_skip", "text_encoder_layer_skip", int(skip) + 1)


def _loss(reading: Taken) -> None:
    kind = reading.word("loss_weight_fn")
    if kind == "min_snr_gamma":
        reading.take("min_snr_gamma", "loss_weight_strength", reading.flat.get("loss_weight_strength"))
    elif kind == "debiased_estimation":
        reading.take("debiased_estimation_loss", "loss_weight_fn", True)
    if kind in ("", "constant", "min_snr_gamma"):
        reading.used |= {"loss_weight_fn", "loss_weight_strength"}
    for key, option in (("min_noising_strength", "min_timestep"), ("max_noising_strength", "max_timestep")):
        share = number(reading.flat.get(key))
        if share is not None and 0 <= share <= 1:
            reading.take(option, key, round(share * 1000))


def _saves(reading: Taken) -> None:
    for key in ("save_every", "save_after"):
        unit, every = reading.word(f"{key}_unit"), number(reading.flat.get(key))
        option = {"epoch": "save_every_n_epochs", "step": "save_every_n_steps"}.get(unit)
        if option and every is not None:
            reading.take(option, key, int(every))
            reading.used.add(f"{key}_unit")
        elif unit == "never":
            reading.used |= {key, f"{key}_unit"}
