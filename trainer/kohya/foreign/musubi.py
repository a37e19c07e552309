"""musubi-tuner's TOML files: sd-scripts' words for trainings of other models, and datasets of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainer.kohya.beside import Beside
from trainer.kohya.foreign.taken import Flat, Taken
from trainer.kohya.networks import other_family
from trainer.kohya.sd_defaults import DEFAULTS

FOLDERS = {"image_directory", "video_directory", "image_jsonl_file", "video_jsonl_file"}
"""Any of which each of its datasets has."""
OWN_NETWORKS = (
    "lora_wan", "lora_framepack", "lora_qwen_image", "lora_hv_1_5", "lora_kandinsky", "lora_flux_2",
    "lora_zimage",
)  # fmt: skip
"""Networks that sd-scripts does not have."""
OTHERWISE = {"network_module", "vae", "dataset_config"}
"""Options that name something of another model, or a dataset file that is not sd-scripts'."""
OF_DATASETS = ("resolution", "batch_size", "enable_bucket", "bucket_no_upscale")
OF_FOLDERS = ("num_repeats", "caption_extension")


def is_of_musubi(data: Mapping[str, Any]) -> bool:
    """Whether a file is one of its datasets, or trains by one of its networks."""
    options = unwrapped(data)
    network = str(options.get("network_module") or "").rpartition(".")[2]
    return (
        any(FOLDERS & dataset.keys() for _, dataset in _datasets(data))
        or network in OWN_NETWORKS
        or ("dit" in options and "network_module" in options)
    )


def unwrapped(data: Mapping[str, Any]) -> dict[str, Any]:
    """Without the sections of options, whose names mean nothing; the datasets' stay."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat.update(value if isinstance(value, Mapping) and key != "general" else {key: value})
    return flat


def with_datasets(data: Mapping[str, Any], files: Beside) -> dict[str, Any]:
    """A training's options with what its dataset file says, where that is at hand."""
    name = data.get("dataset_config")
    inside = files.table(name) if isinstance(name, str) and name and "datasets" not in data else {}
    return {**data, **{key: inside[key] for key in ("general", "datasets") if key in inside}}


def taken(flat: Flat) -> Taken:
    """Its settings in sd-scripts' words."""
    reading = Taken(flat)
    reading.take_all({key: key for key in flat if key in DEFAULTS and key not in OTHERWISE})
    if module := str(flat.get("network_module") or ""):
        # Its first model, for which its network has no name of its own.
        family = other_family(module) or ("HunyuanVideo" if module.endswith("networks.lora") else module)
        reading.family = "network_module", family
    return reading


def take_datasets(reading: Taken, data: Mapping[str, Any]) -> None:
    """The folders of pictures; videos and lists stay among what is not converted."""
    general = data.get("general")
    shared = dict(general) if isinstance(general, Mapping) else {}
    for key, own in _datasets(data):
        dataset = {**shared, **own}
        if folder := dataset.get("image_directory"):
            subset = {name: dataset[name] for name in OF_FOLDERS if name in dataset}
            sizes = {name: dataset[name] for name in OF_DATASETS if name in dataset}
            reading.datasets.append({**sizes, "subsets": [{"image_dir": str(folder), **subset}]})
            names = ("image_directory", *OF_FOLDERS, *OF_DATASETS)
            reading.used |= {f"{place}.{name}" for place in ("general", key) for name in names}
    if data.get("datasets"):
        reading.used |= {"dataset_config"} if reading.datasets else set()
        reading.remarks.append(("datasets", "musubi-tuner", "kohya.musubi_dataset"))


def _datasets(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """("datasets[0]", its options) of each."""
    datasets = data.get("datasets")
    for at, dataset in enumerate(datasets if isinstance(datasets, list) else ()):
        if isinstance(dataset, Mapping):
            yield f"datasets[{at}]", dataset
