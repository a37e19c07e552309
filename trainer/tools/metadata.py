"""What a LoRA file says about itself: read, changed, or left out; the weights stay byte for byte."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from trainer.data.pixels import flattened
from trainer.errors import UserError
from trainer.files.safetensors_header import require_header
from trainer.files.safetensors_writer import Planned
from trainer.tools.lora_files import Progress, rewrite, silent

FIELDS = {
    "title": "modelspec.title", "author": "modelspec.author", "description": "modelspec.description",
    "license": "modelspec.license", "tags": "modelspec.tags", "trigger_phrase": "modelspec.trigger_phrase",
    "usage_hint": "modelspec.usage_hint", "thumbnail": "modelspec.thumbnail",
}  # fmt: skip
"""What a person may write (https://github.com/Stability-AI/ModelSpec)."""
PUBLIC = (
    "modelspec.sai_model_spec", "modelspec.architecture", "modelspec.implementation",
    "modelspec.prediction_type", "modelspec.resolution", "ss_base_model_version", "ss_v2",
    "ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args",
)  # fmt: skip
"""Kept when a file is published without its history: what a program needs to load it."""
THUMBNAIL_SIDE = 256


def metadata_of(path: Path) -> dict[str, str]:
    """The metadata of a .safetensors file. Raises UserError."""
    return dict(require_header(path, "lora").metadata)


def result(
    before: Mapping[str, str], changes: Mapping[str, str], *, without_history: bool = False
) -> dict[str, str]:
    """What a file says after `changes`; the hashes are the writer's. As of `change_metadata`."""
    kept = {key: text for key, text in before.items() if not without_history or key in PUBLIC}
    return {key: text for key, text in {**kept, **changes}.items() if text}


def change_metadata(
    path: Path,
    output: Path,
    changes: Mapping[str, str],
    *,
    without_history: bool = False,
    report: Progress = silent,
) -> Path:
    """Write a copy of a LoRA file with other metadata and right hashes; returns its path.

    `changes`: full key -> text; a blank text removes the key. `without_history` keeps only what a program
    needs to load the file (no captions, folders, settings, dates). Raises UserError, StopRequested, OSError.
    """
    header = require_header(path, "lora")
    metadata = result(header.metadata, changes, without_history=without_history)
    planned = {name: Planned(entry.dtype, entry.shape) for name, entry in header.entries.items()}
    rewrite(path, header, output, planned, metadata, report)
    return output


def thumbnail_text(picture: Path) -> str:
    """A small picture as the text that modelspec.thumbnail holds. Raises UserError for what is no picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(picture) as image:
            small = flattened(image)
            small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError("tools.no_picture", "thumbnail", name=picture.name) from error
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
