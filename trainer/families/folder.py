"""What a diffusers folder holds, from its configurations and the headers of its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.families.facts import (
    FULL_SIZE,
    PIX2PIX,
    ModelFacts,
    ModelUnreadableError,
    count,
    kind_of,
    read_shapes,
)
from trainer.families.layers import diffusers_layers
from trainer.families.others import other_pipeline
from trainer.families.table import FAMILIES, SD1, SD2, SDXL
from trainer.families.unet import Shape, Shapes, UNetFacts, transformer_depths
from trainer.settings import FamilyKey

PARTS = ("unet", "text_encoder", "text_encoder_2", "vae")


def folder_mark(path: Path) -> Path | None:
    """The file that makes a folder a model, and that changes with it; None where there is none."""
    marks = (path / name for name in ("model_index.json", "unet/config.json", "transformer/config.json"))
    return next((mark for mark in marks if mark.is_file()), None)


def folder_facts(path: Path) -> ModelFacts:
    """Facts of a diffusers folder. Raises ModelUnreadableError."""
    index, unet = read_config(path / "model_index.json"), read_config(path / "unet/config.json")
    name = str(index.get("_class_name", ""))
    title = other_pipeline(name)
    if title or not unet:
        if not title and "transformer" not in index and not (path / "transformer").is_dir():
            raise ModelUnreadableError("no_model")
        return ModelFacts("other_model", title=title or name.removesuffix("Pipeline"))
    shapes = {part: weights(path / part) for part in PARTS}
    sizes = _unet(unet, shapes["unet"])
    places = [path / part / "config.json" for part in PARTS[1:3] if (path / part / "config.json").is_file()]
    if not places or not (path / PARTS[1]).is_dir():
        return ModelFacts("refiner" if places and sizes.vector else "part")
    texts = [read_config(place) for place in places]
    widths = [_whole(text.get("hidden_size")) for text in texts]
    kind = kind_of(sizes, sum(widths) if all(widths) else 0, two=len(texts) == len(SDXL.text_encoders))
    if kind != "base":
        return ModelFacts(kind, title=PIX2PIX if kind == "other_model" else "")
    return _base(path, _family(sizes, texts), sizes, shapes)


def _base(path: Path, key: FamilyKey, sizes: UNetFacts, shapes: Mapping[str, Shapes]) -> ModelFacts:
    scheduler = read_config(path / "scheduler/scheduler_config.json")
    text = {
        **shapes["text_encoder"],
        **{f"2.{name}": shape for name, shape in shapes["text_encoder_2"].items()},
    }
    there = ("unet", *(encoder.part for encoder in FAMILIES[key].text_encoders))
    known = all(shapes[part] for part in there)  # weights in .bin files are not looked at
    prediction = scheduler.get("prediction_type")
    return ModelFacts(
        "base",
        key,
        v_prediction=None if prediction is None else prediction == "v_prediction",
        zero_terminal_snr=scheduler.get("rescale_betas_zero_snr") is True and prediction == "v_prediction",
        depths=sizes.depths,
        denoiser=count(shapes["unet"], "") or FULL_SIZE[key].denoiser,
        text_encoder=count(text, "") if known else FULL_SIZE[key].text_encoder,
        vae=count(shapes["vae"], ""),
        layers=diffusers_layers(shapes["unet"], text, FAMILIES[key]) if known else FULL_SIZE[key].layers,
    )


def _unet(config: Mapping[str, Any], shapes: Shapes) -> UNetFacts:
    """Facts of the UNet by its configuration; the depths by its weights where they can be read."""
    context = config.get("cross_attention_dim")
    beside = config.get("addition_embed_type") == "text_time"
    return UNetFacts(
        inputs=_whole(config.get("in_channels")) or 4,
        context=_whole(context[0] if isinstance(context, list) and context else context),
        vector=(_whole(config.get("projection_class_embeddings_input_dim")) or 1) if beside else 0,
        depths=transformer_depths(shapes),
        middle=config.get("mid_block_type", "") is not None,
    )


def _whole(value: Any) -> int:
    return value if type(value) is int else 0


def _family(unet: UNetFacts, texts: list[dict[str, Any]]) -> FamilyKey:
    """SDXL has two text encoders. SD2's is OpenCLIP, of another width and activation than OpenAI's CLIP."""
    if len(texts) == len(SDXL.text_encoders):
        return SDXL.key
    if unet.context in (SD1.context, SD2.context):
        return SD1.key if unet.context == SD1.context else SD2.key
    return SD2.key if texts[0].get("hidden_act") == "gelu" else SD1.key


def weights(folder: Path) -> Shapes:
    """Shapes of all .safetensors files of a model part; half-precision copies are left out."""
    shapes: dict[str, Shape] = {}
    files = sorted(folder.glob("*.safetensors"))
    whole = [file for file in files if ".fp16" not in file.name and "non_ema" not in file.name] or files
    for file in whole:
        shapes.update(read_shapes(file)[0])
    return shapes


def read_config(path: Path) -> dict[str, Any]:
    """A configuration; {} where there is none. Raises ModelUnreadableError for a damaged one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnreadableError("damaged") from error
    return content if isinstance(content, dict) else {}
