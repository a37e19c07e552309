"""Stable Diffusion's parts, read from one-file checkpoints and diffusers folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from trainer.errors import UserError, is_out_of_memory
from trainer.families.family import Family, TextEncoder
from trainer.messages import Message
from trainer.models.folder import (
    MODEL_SETTING,
    Config,
    folder_part,
    model_folder,
    read_json,
    refuse_huge_sizes,
    weight_files,
)
from trainer.models.opening import ModelSource, Opening
from trainer.models.parts import Readers
from trainer.models.single_file import (
    CONFIGS,
    Weights,
    read_text_encoders,
    read_unet,
    read_vae,
    unet_config,
    unet_names,
)
from trainer.models.small_weights import fill, squeeze
from trainer.models.tensor_file import TensorFile, open_tensor_file
from trainer.plan.memory import KeptBase


def readers_of(source: ModelSource, opening: Opening, family: Family) -> Readers:
    """How each part of the model is read. Raises UserError."""
    model, dtype = opening.model, opening.dtype
    # SDXL's own VAE gives no numbers in float16.
    vae_dtype = torch.float32 if model.sdxl_no_half_vae else dtype
    path, file = source.path, source.file
    if file:
        readers = _file_readers(file, path.name, family, dtype, vae_dtype)
        small = partial(_small_of_file, file, path.name, family, dtype)
    else:
        readers = _folder_readers(path, family, dtype, vae_dtype)
        small = partial(_small_of_folder, path / "unet", dtype)
    if opening.small_weights:
        # Only the denoiser: text encoders and VAE leave the memory anyway.
        readers = replace(readers, denoiser=partial(small, opening.small_weights))
    if model.vae:
        readers = replace(readers, vae=partial(load_vae, model.vae, family, vae_dtype))
    return readers


CLIP_CLASSES = {False: CLIPTextModel, True: CLIPTextModelWithProjection}
"""Text encoders by whether they give a pooled vector."""


def _folder_readers(folder: Path, family: Family, dtype: torch.dtype, vae_dtype: torch.dtype) -> Readers:
    """The parts of a diffusers folder, in these number formats.

    Raises UserError for a configuration of silly sizes.
    """
    refuse_huge_sizes(folder)
    texts = [(CLIP_CLASSES[encoder.projected], encoder.part) for encoder in family.text_encoders]
    return Readers(
        text_encoders=lambda: [folder_part(kind, folder, name, dtype) for kind, name in texts],
        vae=lambda: folder_part(AutoencoderKL, folder, "vae", vae_dtype),
        denoiser=lambda: folder_part(UNet2DConditionModel, folder, "unet", dtype),
    )


def load_tokenizer(encoder: TextEncoder) -> CLIPTokenizer:
    """CLIP's tokenizer (ships with us), filling up as this text encoder knows it."""
    tokenizer = CLIPTokenizer.from_pretrained(CONFIGS / "clip_tokenizer", pad_token=encoder.pad)
    # No token of the vocabulary: only its number is set, words stay as they are.
    if encoder.pad_id is not None:
        tokenizer.pad_token_id = encoder.pad_id
    return tokenizer


def load_vae(source: str, family: Family, dtype: torch.dtype) -> AutoencoderKL:
    """A VAE of its own: a file in either layout, a diffusers folder, or a hub id."""
    path = Path(source).expanduser()
    if not path.is_file():
        folder = model_folder(source, setting="vae", needs="config.json")
        return folder_part(AutoencoderKL, folder, "vae" if (folder / "vae").is_dir() else None, dtype, "vae")
    file = open_tensor_file(path, "vae")
    # Told by its names, before anything is built: a LoRA or a checkpoint may stand in the field.
    if not any("encoder.down" in name for name in file.shapes):
        raise UserError("core.not_a_vae", "vae", name=path.name)
    with _fitting(path.name, "vae"):
        return _build_vae(*read_vae(file, family, dtype))


@contextmanager
def _fitting(name: str, setting: str = MODEL_SETTING) -> Iterator[None]:
    """Tensors that are missing, or of sizes that no model has, are said to be that. Raises UserError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        # The file is not to blame for that.
        if is_out_of_memory(error):
            raise
        reason = f"{type(error).__name__} {error}"[:200]
        raise UserError("core.checkpoint_misfit", setting, name=name, reason=reason) from error


def _file_readers(
    file: TensorFile, name: str, family: Family, dtype: torch.dtype, vae_dtype: torch.dtype
) -> Readers:
    """The parts of a one-file checkpoint."""

    def text_encoders() -> list[Any]:
        with _fitting(name):
            parts = read_text_encoders(file, family, dtype)
            return [_build_text_encoder(*part, name) for part in parts]

    def vae() -> AutoencoderKL:
        with _fitting(name):
            return _build_vae(*read_vae(file, family, vae_dtype))

    def denoiser() -> UNet2DConditionModel:
        with _fitting(name):
            config, weights = read_unet(file, family, dtype)
            return _fill(_on_meta(UNet2DConditionModel, config), weights, name)

    return Readers(text_encoders, vae, denoiser)


def _small_of_file(
    file: TensorFile, name: str, family: Family, dtype: torch.dtype, kind: KeptBase
) -> UNet2DConditionModel:
    """The denoiser with small weights, read one by one."""
    with _fitting(name):
        unet = squeeze(_on_meta(UNet2DConditionModel, unet_config(file, family)), kind)
        # The converter works on whole models; here it renames marks, and weights follow one by one.
        names = unet_names(file.shapes, family)
        return _whole(unet, fill(unet, names, lambda path: file.read(names[path]), dtype), name)


def _small_of_folder(folder: Path, dtype: torch.dtype, kind: KeptBase) -> Any:
    """The same of a diffusers folder."""
    files = weight_files(folder)
    if not files:  # older folders hold pickles
        return squeeze(folder_part(UNet2DConditionModel, folder, None, dtype), kind)
    opened = [open_tensor_file(path, MODEL_SETTING) for path in files]
    owner = {name: file for file in opened for name in file.shapes}
    with _fitting(folder.name):
        unet = squeeze(_on_meta(UNet2DConditionModel, read_json(folder / "config.json")), kind)
        return _whole(unet, fill(unet, owner, lambda name: owner[name].read(name), dtype), folder.name)


def _whole(module: Any, missing: Sequence[str], name: str) -> Any:
    """Raises UserError where weights are missing."""
    if missing:
        raise UserError("core.checkpoint_misfit", MODEL_SETTING, name=name, reason=", ".join(missing[:5]))
    return module


def _on_meta(kind: Any, config: Config) -> Any:
    """A module without memory for its weights; they are put in afterwards."""
    with torch.device("meta"):
        return kind.from_config(config)


def _fill(module: Any, weights: Weights, name: str) -> Any:
    """Put the weights in as they are (no copy). Raises UserError where one is missing or misshapen."""
    try:
        # `assign`: the tensors as read become the weights, no second copy. Extra ones are not ours.
        missing, _ = module.load_state_dict(weights, strict=False, assign=True)
    except RuntimeError as error:
        raise UserError(
            "core.checkpoint_misfit", MODEL_SETTING, name=name, reason=str(error)[:300]
        ) from error
    return _whole(module, missing, name)


def _build_vae(config: Config, weights: Weights) -> AutoencoderKL:
    return _fill(_on_meta(AutoencoderKL, config), weights, "VAE")


def _build_text_encoder(config: Config, weights: Weights, name: str) -> Any:
    projected = "CLIPTextModelWithProjection" in config["architectures"]
    with torch.device("meta"):
        module = (CLIPTextModelWithProjection if projected else CLIPTextModel)(CLIPTextConfig(**config))
    # transformers before 5.6 has one level more than our names.
    if any(key.startswith("text_model.") for key, _ in module.named_parameters()):
        weights = {
            key if key.startswith("text_projection") else f"text_model.{key}": tensor
            for key, tensor in weights.items()
        }
    _fill(module, weights, name)
    for holder in module.modules():  # a buffer that no file holds
        if "position_ids" in holder._buffers:  # noqa: SLF001  # a buffer can be replaced in no other way
            count = config["max_position_embeddings"]
            holder.register_buffer("position_ids", torch.arange(count).expand((1, -1)), persistent=False)
    return module


def prediction_notices(path: Path, *, v_parameterization: bool) -> tuple[Message, ...]:
    """A diffusers folder says what its UNet predicts; a one-file checkpoint does not."""
    config = path / "scheduler" / "scheduler_config.json"
    # A note and no refusal: fine-tuned models are known to be mislabelled.
    prediction = read_json(config).get("prediction_type", "epsilon") if config.is_file() else None
    if prediction is None or (prediction == "v_prediction") == v_parameterization:
        return ()
    return (Message("core.prediction_differs", {"name": path.name, "told": prediction}),)
