"""ai-toolkit's settings: one process in a YAML or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainer.data.folders import MOST_REPEATS
from trainer.kohya.foreign.taken import Flat, Taken, is_on, number, sizes

START = "config.process[0]."
NAMES = {
    "network.linear": "network_dim", "network.linear_alpha": "network_alpha",
    "network.rank": "network_dim", "network.alpha": "network_alpha", "network.dropout": "network_dropout",
    "network.pretrained_lora_path": "network_weights", "train.lr": "learning_rate",
    "train.unet_lr": "unet_lr", "train.text_encoder_lr": "text_encoder_lr",
    "train.steps": "max_train_steps", "train.batch_size": "train_batch_size",
    "train.gradient_accumulation_steps": "gradient_accumulation_steps",
    "train.gradient_accumulation": "gradient_accumulation_steps",
    "train.gradient_checkpointing": "gradient_checkpointing", "train.max_grad_norm": "max_grad_norm",
    "train.noise_offset": "noise_offset", "train.min_snr_gamma": "min_snr_gamma",
    "train.loss_type": "loss_type",
    "model.name_or_path": "pretrained_model_name_or_path", "model.is_v2": "v2", "model.vae_path": "vae",
    "model.is_v_pred": "v_parameterization", "training_folder": "output_dir",
    "save.save_every": "save_every_n_steps", "datasets[0].cache_latents": "cache_latents",
    "datasets[0].cache_latents_to_disk": "cache_latents_to_disk",
}  # fmt: skip
FOLDER_SWITCHES = {"flip_x": "flip_aug", "shuffle_tokens": "shuffle_caption", "is_reg": "is_reg"}
FOLDER_NUMBERS = {
    "caption_dropout_rate": "caption_dropout_rate", "keep_tokens": "keep_tokens",
    "num_repeats": "num_repeats",
}  # fmt: skip
"""What one of its folders of pictures says -> what a dataset file's subset says."""
FOLDER_LIMITS = {"caption_dropout_rate": (0, 1), "keep_tokens": (0, 1000), "num_repeats": (1, MOST_REPEATS)}
OTHERS = ("is_flux", "is_v3", "is_pixart", "is_auraflow", "is_lumina2", "is_ssd", "is_vega")
"""Switches of models that cannot be trained here."""
PROMPT_OPTIONS = {
    "width": "w",
    "height": "h",
    "seed": "d",
    "guidance_scale": "l",
    "sample_steps": "s",
    "neg": "n",
}

MOST_SAMPLES = 200
MOST_FOLDERS = 200
JOBS = ("extension", "train")
"""Kinds of jobs that train."""


def whole(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The settings with their process in a list, also where it stands alone; None for no such settings."""
    config = data.get("config")
    process = config.get("process") if isinstance(config, Mapping) else None
    if isinstance(process, list):
        return data
    if isinstance(config, Mapping) and isinstance(process, Mapping):
        return {**data, "config": {**config, "process": [process]}}
    if {"type", "network", "train"} <= set(data) and isinstance(data["train"], Mapping):
        return {"config": {"process": [data]}}
    return None


def taken(flat: Flat) -> Taken:
    """Its settings in sd-scripts' words."""
    reading = Taken(flat)
    reading.take_all(NAMES, START)
    reading.take("output_name", "config.name", flat.get("config.name"))
    _model(reading)
    _network(reading)
    _folders(reading)
    reading.optimizer(f"{START}train.optimizer")
    reading.schedule(f"{START}train.lr_scheduler")
    for name in ("weight_decay", "betas", "eps", "d_coef", "momentum"):
        key = f"{START}train.optimizer_params.{name}"
        reading.argument("optimizer_args", key, name, flat.get(key))
    reading.precision(f"{START}train.dtype", "mixed_precision")
    reading.precision(f"{START}save.dtype", "save_precision")
    if flat.get(f"{START}train.train_text_encoder") is not True:
        reading.take("network_train_unet_only", f"{START}train.train_text_encoder", True)
    if flat.get(f"{START}train.train_unet") is False:
        reading.take("network_train_text_encoder_only", f"{START}train.train_unet", True)
    _samples(reading)
    reading.used |= {f"{START}device", f"{START}train.train_unet", "meta.name", "meta.version"}
    if reading.word(f"{START}train.noise_scheduler") == "ddpm":
        reading.used.add(f"{START}train.noise_scheduler")
    if reading.word("job") in ("", *JOBS):  # others draw pictures, or make something else of a model
        reading.used |= {"job", f"{START}type"}
    return reading


def _model(reading: Taken) -> None:
    arch = f"{START}model.arch"
    reading.known_family(arch, ("sd1", "sd2", "sdxl"))
    for name in OTHERS:
        if is_on(reading.flat.get(f"{START}model.{name}", False)):
            reading.family = f"{START}model.{name}", name.removeprefix("is_")
    reading.sdxl = is_on(reading.flat.get(f"{START}model.is_xl", False)) or reading.word(arch) == "sdxl"
    if reading.word(arch) == "sd2":
        reading.take("v2", arch, True)
    reading.used.add(f"{START}model.is_xl")


def _network(reading: Taken) -> None:
    kind = reading.word(f"{START}network.type")
    for key, name in (("conv", "conv_dim"), ("conv_alpha", "conv_alpha")):
        reading.argument(
            "network_args", f"{START}network.{key}", name, reading.flat.get(f"{START}network.{key}")
        )
    if kind in ("lokr", "loha"):
        reading.take("network_module", f"{START}network.type", "lycoris.kohya")
        reading.argument("network_args", f"{START}network.type", "algo", kind)
        factor = f"{START}network.lokr_factor"
        reading.argument("network_args", factor, "factor", reading.flat.get(factor))
    elif kind in ("lora", "locon", "lierla"):
        reading.used.add(f"{START}network.type")


def _folders(reading: Taken) -> None:
    """Its folders of pictures: a plain one is the Image folder, others a dataset file. Each is learned in
    each of its sizes, as sd-scripts does it where a folder stands in several [[datasets]].
    """
    folders: list[tuple[list[str], dict[str, Any]]] = []
    for at in range(MOST_FOLDERS):
        start = f"{START}datasets[{at}]."
        if not reading.flat.get(f"{start}folder_path"):
            continue
        folders.append((sizes(reading.flat.get(f"{start}resolution")), _subset(reading, start)))
        reading.used |= {start + key for key in ("resolution", "cache_latents", "cache_latents_to_disk")}
    every_size = list(dict.fromkeys(size for own, _ in folders for size in own or [""]))
    plain = len(folders) == 1 and len(every_size) == 1 and folders[0][1].get("num_repeats", 1) == 1
    if plain and not folders[0][1].get("is_reg"):
        _image_folder(reading, folders[0][1], every_size[0])
        return
    for size in every_size:
        subsets = [subset for own, subset in folders if size in (own or [""])]
        number_alone = int(size) if size.isdigit() else size
        reading.datasets.append({**({"resolution": number_alone} if size else {}), "subsets": subsets})


def _subset(reading: Taken, start: str) -> dict[str, Any]:
    """A folder as a dataset file describes it."""
    subset: dict[str, Any] = {"image_dir": str(reading.flat[f"{start}folder_path"])}
    for key, option in FOLDER_SWITCHES.items():
        if reading.flat.get(start + key) is not None:
            subset[option] = is_on(reading.flat[start + key])
            reading.used.add(start + key)
    for key, option in FOLDER_NUMBERS.items():
        value, (least, most) = number(reading.flat.get(start + key)), FOLDER_LIMITS[option]
        # What a dataset file cannot say is left for a look.
        if value is None or not least <= value <= most:
            continue
        if value == int(value) or option == "caption_dropout_rate":
            subset[option] = int(value) if value == int(value) else value
            reading.used.add(start + key)
    if ending := str(reading.flat.get(f"{start}caption_ext") or ""):
        subset["caption_extension"] = f".{ending.lstrip('.')}"
    reading.used |= {f"{start}folder_path", f"{start}caption_ext"}
    return subset


def _image_folder(reading: Taken, subset: Mapping[str, Any], size: str) -> None:
    """The one folder and what is said of it, as settings."""
    start = f"{START}datasets[0]."
    names = {
        "folder_path": "image_dir",
        "caption_ext": "caption_extension",
        **FOLDER_SWITCHES,
        **FOLDER_NUMBERS,
    }
    for key, option in names.items():
        if option not in ("is_reg", "num_repeats"):
            setting = "train_data_dir" if option == "image_dir" else option
            reading.take(setting, start + key, subset.get(option))
    reading.take("resolution", f"{start}resolution", size)


def _samples(reading: Taken) -> None:
    """Its prompts with one size, seed and strength for all, as options behind each."""
    start = f"{START}sample."
    prompts: Any = reading.flat.get(f"{start}prompts")
    if isinstance(prompts, list) and prompts:
        reading.prompts = f"{start}prompts", [_line(reading, str(prompt), start, "") for prompt in prompts]
        reading.used.add(f"{start}prompts")
    elif lines := list(_samples_of_today(reading, start)):
        reading.prompts = f"{start}samples", lines
    else:
        return
    reading.used |= {start + key for key in PROMPT_OPTIONS}
    reading.take("sample_every_n_steps", f"{start}sample_every", reading.flat.get(f"{start}sample_every"))


def _samples_of_today(reading: Taken, start: str) -> Iterator[str]:
    """Prompts of which each may have a size, seed … of its own."""
    for at in range(MOST_SAMPLES):
        own = f"{start}samples[{at}]."
        prompt = reading.flat.get(f"{own}prompt")
        if prompt is None:
            return
        yield _line(reading, str(prompt), start, own)
        reading.used |= {f"{own}prompt", *(own + key for key in PROMPT_OPTIONS)}


def _line(reading: Taken, prompt: str, start: str, own: str) -> str:
    """A prompt with its options, or with those of all."""
    word = str(reading.flat.get(f"{START}trigger_word") or "")
    values = {
        letter: (own and reading.flat.get(own + key)) or reading.flat.get(start + key)
        for key, letter in PROMPT_OPTIONS.items()
    }
    options = "".join(f" --{letter} {value}" for letter, value in values.items() if value not in (None, ""))
    return " ".join(prompt.replace("[trigger]", word).split()) + options
