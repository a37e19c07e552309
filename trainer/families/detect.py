"""What a model file or folder is, told from its names, shapes and configurations, without loading it.

The one place that tells: checks, loader, LoRA readers and the page all ask here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainer.families.facts import PIX2PIX, ModelFacts, ModelUnreadableError, count, kind_of, read_shapes
from trainer.families.folder import PARTS, folder_facts, folder_mark
from trainer.families.layers import original_layers
from trainer.families.lora_family import lora_family, other_lora
from trainer.families.others import ModelKind, is_lora, other_file, other_model
from trainer.families.table import FAMILIES, SDXL
from trainer.families.unet import UNET, Shapes, UNetFacts, unet_facts
from trainer.settings import FamilyKey

VAE = "first_stage_model."
FileStamps = tuple[tuple[int, int], ...]
_known: dict[str, tuple[FileStamps, ModelFacts | str]] = {}


def read_model(path: Path) -> ModelFacts:
    """Facts of a model file or diffusers folder; remembered until it changes.

    Raises ModelUnreadableError, or OSError where it cannot be opened.
    """
    stamp = _stamp(path)
    known = _known.get(str(path))
    if known is None or known[0] != stamp:
        try:
            known = stamp, folder_facts(path) if path.is_dir() else facts_of(*read_shapes(path))
        except ModelUnreadableError as error:
            known = stamp, str(error)
        _known[str(path)] = known
    if isinstance(known[1], str):
        raise ModelUnreadableError(known[1])
    return known[1]


def _stamp(path: Path) -> FileStamps:
    """Changes when the model does. Raises ModelUnreadableError for a folder that is no model, or OSError."""
    places = [path]
    if path.is_dir():
        if (mark := folder_mark(path)) is None:
            raise ModelUnreadableError("no_model")
        parts = (path / part for part in (*PARTS, "scheduler"))
        places = [mark, *(part for part in parts if part.is_dir())]
    stats = [place.stat() for place in places]
    return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)


def facts_of(shapes: Shapes, metadata: Mapping[str, str]) -> ModelFacts:
    """Facts from the tensors of a single file and the text beside them."""
    if is_lora(shapes):
        return ModelFacts("lora", lora_family(shapes, metadata), other_lora(shapes))
    if title := other_model(shapes):
        return ModelFacts("other_model", title=title)
    unet = unet_facts(
        {name.removeprefix(UNET): shape for name, shape in shapes.items() if name.startswith(UNET)}
    )
    if unet is None:
        kind = other_file(shapes)
        return ModelFacts(kind, latent_channels=_latent_channels(shapes) if kind == "vae" else 0)
    kind, key = _kind(shapes, unet)
    if kind != "base" or key is None:
        return ModelFacts(kind, title=PIX2PIX if kind == "other_model" else "")
    text = tuple(encoder.checkpoint for encoder in FAMILIES[key].text_encoders)
    v_prediction = _v_prediction(shapes, metadata)
    return ModelFacts(
        "base",
        key,
        v_prediction=v_prediction,
        zero_terminal_snr="ztsnr" in shapes and v_prediction is True,
        depths=unet.depths,
        denoiser=count(shapes, UNET),
        text_encoder=count(shapes, *text),
        vae=count(shapes, VAE),
        layers=original_layers(shapes, FAMILIES[key]),
    )


def _kind(shapes: Shapes, unet: UNetFacts) -> tuple[ModelKind, FamilyKey | None]:
    """What a one-file checkpoint with a UNet is, and of which family its text encoders say it is."""
    complete = [
        family
        for family in FAMILIES.values()
        if all(any(name.startswith(text.checkpoint) for name in shapes) for text in family.text_encoders)
    ]
    if not complete:
        only_second = any(name.startswith("conditioner.embedders.0.model.") for name in shapes)
        return ("refiner" if only_second else "part"), None
    family = complete[-1]
    widths = [text_width(shapes, text.checkpoint) for text in family.text_encoders]
    return kind_of(unet, sum(widths) if all(widths) else 0, two=family is SDXL), family.key


def text_width(shapes: Shapes, prefix: str) -> int:
    """Width of a text encoder's embeddings; 0 where the names do not show it."""
    endings = ("token_embedding.weight", "final_layer_norm.weight", "ln_final.weight")
    widths = (
        shape[-1]
        for name, shape in shapes.items()
        if shape and name.startswith(prefix) and name.endswith(endings)
    )
    return next(widths, 0)


def _latent_channels(shapes: Shapes) -> int:
    """Channels of the latents that a VAE decodes; 0 where the names do not show it."""
    inputs = (shape for name, shape in shapes.items() if name.endswith("decoder.conv_in.weight"))
    return next((shape[1] for shape in inputs if len(shape) > 1), 0)


def _v_prediction(shapes: Shapes, metadata: Mapping[str, str]) -> bool | None:
    prediction = metadata.get("modelspec.prediction_type") or metadata.get("modelspec.predict_key") or ""
    if prediction:
        return prediction.lower().startswith("v")
    return True if {"v_pred", "ztsnr"} & shapes.keys() else None  # noise alone tells nothing but by velocity
