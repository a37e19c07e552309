"""What a base model is, told from the first bytes of its file, without loading it.

A .safetensors file begins with the names and shapes of its tensors, a diffusers folder has its
config.json files; a .ckpt file names its tensors in a pickle whose bytes are searched, never unpickled.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainer.settings import Model

Family = Literal["sd1", "sd2", "sdxl", ""]
Kind = Literal["base", "lora", "vae", "other_model", "unknown"]
Shapes = Mapping[str, tuple[int, ...]]
LARGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class LoraSizes:
    """Numbers of a LoRA file per rank: for each layer with a LoRA, its inputs plus its outputs."""

    attention: int
    resnet: int
    """The layers of the UNet's resnets that are no 3×3 convolutions."""
    convolution: int
    text_encoder: int


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
    lora: LoraSizes = LoraSizes(0, 0, 0, 0)


FULL_SIZE: dict[Family, ModelFacts] = {
    "sd1": ModelFacts("base", "sd1", None, False, 859_520_964, 123_060_480, 83_653_863,
                      LoraSizes(423_936, 82_880, 544_000, 165_888)),
    "sd2": ModelFacts("base", "sd2", None, False, 865_910_724, 340_387_840, 83_653_863,
                      LoraSizes(432_128, 82_880, 544_000, 423_936)),
    "sdxl": ModelFacts("base", "sdxl", None, False, 2_567_463_684, 817_720_320, 83_653_863,
                       LoraSizes(2_659_840, 58_560, 355_840, 903_168)),
}  # fmt: skip
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
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= LARGEST_HEADER:
            raise ModelUnreadableError("damaged")
        if size < 8 + length:
            raise ModelUnreadableError("incomplete")
        try:
            header = json.loads(file.read(length))
            metadata = header.pop("__metadata__", {})
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelUnreadableError("damaged") from error
    if size < 8 + length + end:
        raise ModelUnreadableError("incomplete")
    return shapes, metadata


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
        _lora_sizes(shapes),
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


def _lora_sizes(shapes: Shapes) -> LoraSizes:
    """Sizes of the layers that a LoRA changes, in the original or the diffusers names of a model."""
    sizes = {"attention": 0, "resnet": 0, "convolution": 0, "text_encoder": 0}
    for name, shape in shapes.items():
        if len(shape) >= 2 and (part := _part(name, shape)):
            sizes[part] += _in_plus_out(name, shape)
    return LoraSizes(**sizes)


def _part(name: str, shape: tuple[int, ...]) -> str:
    if name.startswith(TEXT):
        is_last = re.search(
            r"cond_stage_model\.model\.transformer\.resblocks\.23\.", name
        )  # SD2 leaves it out
        in_layer = re.search(r"(q_proj|k_proj|v_proj|out_proj|fc1|fc2|in_proj|c_fc|c_proj)[._]weight$", name)
        return "text_encoder" if in_layer and not is_last else ""
    if not name.startswith(UNET):
        return ""
    if re.search(r"\.(proj_in|proj_out)\.weight$|transformer_blocks\..*\.weight$", name):
        return "attention"
    if re.search(r"\.(in_layers\.2|out_layers\.3|op|conv)\.weight$", name) and shape[-1] == 3:
        return "convolution"
    return "resnet" if re.search(r"\.(emb_layers\.1|skip_connection)\.weight$", name) else ""


def _in_plus_out(name: str, shape: tuple[int, ...]) -> int:
    if name.endswith("in_proj_weight"):  # three layers in one tensor
        return 3 * (shape[0] // 3 + shape[1])
    return shape[0] + math.prod(shape[1:])


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
        _diffusers_lora_sizes(parts["unet"], text),
    )


def _diffusers_lora_sizes(unet: Shapes, text: Shapes) -> LoraSizes:
    sizes = {"attention": 0, "resnet": 0, "convolution": 0}
    for name, shape in unet.items():
        if len(shape) < 2:
            continue
        if ".attentions." in name:
            sizes["attention"] += _in_plus_out(name, shape)
        elif ".resnets." in name or "samplers." in name:
            part = "convolution" if len(shape) == 4 and shape[-1] == 3 else "resnet"
            sizes[part] += _in_plus_out(name, shape)
    layers = (shape for name, shape in text.items() if ".layers." in name and len(shape) == 2)
    return LoraSizes(**sizes, text_encoder=sum(sum(shape) for shape in layers))


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
    except (OSError, ValueError) as error:
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
            names = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            content = archive.read(names)
    except (zipfile.BadZipFile, StopIteration, OSError) as error:
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
