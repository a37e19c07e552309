"""What a base model is, told from the first bytes of its file, without loading it.

A .safetensors file begins with the names and shapes of its tensors, a diffusers folder has its
config.json files; a .ckpt file names its tensors in a pickle whose bytes are searched, never unpickled.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainer.families.layers import FULL_SIZE_LAYERS, Layers, diffusers_layers, original_layers
from trainer.files import safetensors_header
from trainer.settings import Model

Family = Literal["sd1", "sd2", "sdxl", ""]
Kind = Literal["base", "lora", "vae", "other_model", "unknown"]
Shapes = Mapping[str, tuple[int, ...]]
LARGEST_PICKLE = 100_000_000
"""Bytes of the part of a .ckpt that names its tensors; it is compressed in no real file."""


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model."""

    kind: Kind = "unknown"
    family: Family = ""
    v_prediction: bool | None = None
    """None: the file does not tell."""
    inpainting: bool = False
    unet: int = 0
    """Number of weights, as `text_encoder` and `vae`."""
    text_encoder: int = 0
    vae: int = 0
    layers: Layers = ()
    """The layers that a LoRA can change."""


COUNTS: dict[Family, tuple[int, int, int]] = {
    "sd1": (859_520_964, 123_060_480, 83_653_863),
    "sd2": (865_910_724, 340_387_840, 83_653_863),
    "sdxl": (2_567_463_684, 817_720_320, 83_653_863),
}
"""Weights of UNet, text encoders and VAE."""
FULL_SIZE: dict[Family, ModelFacts] = {
    family: ModelFacts("base", family, None, False, *weights, FULL_SIZE_LAYERS[family])
    for family, weights in COUNTS.items()
}
"""The published models: for estimates where the file does not tell."""


class ModelUnreadableError(Exception):
    """Not a model that can be read; the argument is "damaged", "incomplete" or "no_model"."""


def family_by_settings(model: Model) -> Family:
    """The family that the settings v2 and SDXL Model name."""
    return "sdxl" if model.sdxl else "sd2" if model.v2 else "sd1"


_known: dict[str, tuple[tuple[int, int], ModelFacts | str]] = {}


def read_model(path: Path) -> ModelFacts:
    """Facts of a model file or diffusers folder; remembered until it changes.

    Raises ModelUnreadableError, or OSError where it cannot be opened.
    """
    marker = path / "model_index.json" if path.is_dir() else path
    if path.is_dir() and not marker.exists():
        raise ModelUnreadableError("no_model")
    found = marker.stat()
    stamp = found.st_mtime_ns, found.st_size
    known = _known.get(str(path))
    if known is None or known[0] != stamp:
        try:
            known = stamp, _folder_facts(path) if path.is_dir() else _file_facts(path)
        except ModelUnreadableError as error:
            known = stamp, str(error)
        _known[str(path)] = known
    if isinstance(known[1], str):
        raise ModelUnreadableError(known[1])
    return known[1]


def _file_facts(path: Path) -> ModelFacts:
    if path.suffix.lower() == ".safetensors":
        shapes, metadata = read_header(path)
        return facts_of(shapes, metadata)
    return _pickle_facts(path)


def read_header(path: Path) -> tuple[Shapes, dict[str, str]]:
    """Shapes of a .safetensors file's tensors, and its metadata. Raises ModelUnreadableError."""
    try:
        header = safetensors_header.read_header(path)
    except safetensors_header.HeaderError as error:
        raise ModelUnreadableError(str(error)) from error
    return {name: entry.shape for name, entry in header.entries.items()}, dict(header.metadata)


UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT = ("cond_stage_model.", "conditioner.embedders.")


def facts_of(shapes: Shapes, metadata: Mapping[str, str]) -> ModelFacts:
    """Facts from the tensors of a single file."""
    family = _family(shapes)
    if any(name.startswith(("lora_unet_", "lora_te")) or ".lora_" in name for name in shapes):
        return ModelFacts("lora")
    if not family:
        has_vae = any(name.startswith((VAE, "encoder.conv_in", "decoder.conv_in")) for name in shapes)
        return ModelFacts("vae" if has_vae else "other_model")
    first = shapes.get(f"{UNET}input_blocks.0.0.weight", (0, 4))
    return ModelFacts(
        "base",
        family,
        _v_prediction(shapes, metadata),
        first[1] == 9,
        _count(shapes, UNET),
        _count(shapes, *TEXT),
        _count(shapes, VAE),
        original_layers(shapes, TEXT),
    )


def _family(shapes: Shapes) -> Family:
    if not any(name.startswith(UNET) for name in shapes):
        return ""
    if any(name.startswith("conditioner.embedders.1.") for name in shapes):
        return "sdxl"
    if any(name.startswith("cond_stage_model.model.") for name in shapes):
        return "sd2"
    return "sd1" if any(name.startswith("cond_stage_model.transformer.") for name in shapes) else ""


def _v_prediction(shapes: Shapes, metadata: Mapping[str, str]) -> bool | None:
    told = metadata.get("modelspec.prediction_type") or metadata.get("modelspec.predict_key") or ""
    if told:
        return told.lower().startswith("v")
    return True if "v_pred" in shapes else None


def _count(shapes: Shapes, *prefixes: str) -> int:
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(prefixes))


def _folder_facts(path: Path) -> ModelFacts:
    """Facts of a diffusers folder, from its configs and the headers of its weights."""
    index = _json(path / "model_index.json")
    unet, scheduler = _json(path / "unet/config.json"), _json(path / "scheduler/scheduler_config.json")
    if not unet or not index:
        raise ModelUnreadableError("no_model")
    family: Family = "sdxl" if "text_encoder_2" in index and "XL" in index.get("_class_name", "") else "sd1"
    if family == "sd1" and (_json(path / "text_encoder/config.json").get("hidden_act") == "gelu"):
        family = "sd2"
    if not str(index.get("_class_name", "")).startswith("StableDiffusion") or "transformer" in index:
        return ModelFacts("other_model")
    parts = {part: _weights(path / part) for part in ("unet", "text_encoder", "text_encoder_2", "vae")}
    if not parts["unet"]:
        return FULL_SIZE[family]
    text = {
        **parts["text_encoder"],
        **{f"2.{name}": shape for name, shape in parts["text_encoder_2"].items()},
    }
    return ModelFacts(
        "base",
        family,
        scheduler.get("prediction_type") == "v_prediction" if "prediction_type" in scheduler else None,
        unet.get("in_channels") == 9,
        _count(parts["unet"], ""),
        _count(text, ""),
        _count(parts["vae"], ""),
        diffusers_layers(parts["unet"], text),
    )


def _weights(folder: Path) -> Shapes:
    """Shapes of all .safetensors files of a model part; half-precision copies are left out."""
    shapes: dict[str, tuple[int, ...]] = {}
    files = sorted(folder.glob("*.safetensors"))
    whole = [file for file in files if ".fp16" not in file.name and "non_ema" not in file.name] or files
    for file in whole:
        shapes.update(read_header(file)[0])
    return shapes


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnreadableError("damaged") from error
    return content if isinstance(content, dict) else {}


def _pickle_facts(path: Path) -> ModelFacts:
    """Facts of a .ckpt, from the names in its pickle. The pickle is not run."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] != b"PK":
        if magic[:1] == b"\x80":  # torch's format before 2020: names are all over the file
            return ModelFacts()
        raise ModelUnreadableError("damaged")
    try:
        with zipfile.ZipFile(path) as archive:
            names = next(part for part in archive.infolist() if part.filename.endswith("data.pkl"))
            if names.file_size > LARGEST_PICKLE:
                raise ModelUnreadableError("damaged")
            content = archive.read(names)
    except (zipfile.BadZipFile, StopIteration, OSError, RuntimeError, zlib.error) as error:
        raise ModelUnreadableError("incomplete") from error
    marks: dict[Family, bytes] = {
        "sdxl": b"conditioner.embedders.1.",
        "sd2": b"cond_stage_model.model.",
        "sd1": b"cond_stage_model.transformer.",
    }
    for family, mark in marks.items():
        if mark in content and UNET.encode() in content:
            return FULL_SIZE[family]
    return ModelFacts("lora" if b"lora_unet_" in content else "other_model")


PATH = "pretrained_model_name_or_path"
QUICK_PICKS: dict[str, ModelFacts] = {
    "stabilityai/stable-diffusion-2-1": ModelFacts("base", "sd2", v_prediction=True),
    "stabilityai/stable-diffusion-2": ModelFacts("base", "sd2", v_prediction=True),
    "stabilityai/stable-diffusion-2-1-base": ModelFacts("base", "sd2", v_prediction=False),
    "stabilityai/stable-diffusion-2-base": ModelFacts("base", "sd2", v_prediction=False),
    "stabilityai/stable-diffusion-xl-base-1.0": ModelFacts("base", "sdxl", v_prediction=False),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": ModelFacts("base", "sd1", v_prediction=False),
    "CompVis/stable-diffusion-v1-4": ModelFacts("base", "sd1", v_prediction=False),
}


def source(model: Model) -> tuple[str, str]:
    """The base model's path or id, and the setting that names it: the quick pick goes before the path."""
    if model.model_list not in {"", "custom"}:
        return model.model_list, "model_list"
    return model.pretrained_model_name_or_path, PATH


def known_facts(model: Model) -> ModelFacts | None:
    """What can be told of the base model without loading it; None where nothing can."""
    name, _ = source(model)
    if not name:
        return None
    try:
        return read_model(Path(name))
    except (ModelUnreadableError, OSError, ValueError):
        return QUICK_PICKS.get(name)
