"""The base model: a checkpoint on disk or a name on the hub becomes its parts.

`predict_noise` is the seam between the model families; everything else in the trainer treats them alike.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from trainer.errors import UserError, is_out_of_memory
from trainer.messages import Message
from trainer.models.allocator import returning_freed_memory
from trainer.models.single_file import (
    CONFIGS,
    Family,
    Weights,
    detect_family,
    read_text_encoders,
    read_unet,
    read_vae,
)
from trainer.models.tensor_file import TensorFile, open_tensor_file

SETTING = "pretrained_model_name_or_path"
LATENT_CHANNELS = 4
FAMILY_NAMES = {"sd1": "Stable Diffusion 1.x", "sd2": "Stable Diffusion 2.x", "sdxl": "SDXL"}
Config = dict[str, Any]
Prediction = Literal["epsilon", "v_prediction"]


@dataclass
class LoadedModel:
    """Parts of a base model: frozen, in evaluation mode, on the CPU."""

    family: Family
    prediction_type: Prediction
    """What the UNet was trained to predict: "epsilon" or "v_prediction"."""
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: list[CLIPTextModel | CLIPTextModelWithProjection]
    tokenizers: list[CLIPTokenizer]
    noise_scheduler: DDPMScheduler
    source: str
    """The path or hub id it came from."""
    vae_source: str = ""
    notices: tuple[Message, ...] = ()

    def predict_noise(
        self,
        noisy_latents: Tensor,
        timesteps: Tensor,
        text_embeds: Tensor,
        added: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """The UNet's answer (noise or velocity) for (B, 4, h, w) latents; `added` only for SDXL."""
        return self.unet(noisy_latents, timesteps, text_embeds, added_cond_kwargs=added).sample


@returning_freed_memory()
def load_model(
    source: str,
    *,
    v2: bool = False,
    sdxl: bool = False,
    v_parameterization: bool = False,
    vae: str = "",
    dtype: torch.dtype = torch.float32,
    vae_dtype: torch.dtype | None = None,
    zero_terminal_snr: bool = False,
) -> LoadedModel:
    """Load a one-file checkpoint, a diffusers folder or a hub id.

    Nothing is fetched from the network for a path, nor for a hub id that was fetched before. Raises
    UserError for what a person can mend: no such file, another family than the settings say, damage.
    """
    wanted: Family = "sdxl" if sdxl else "sd2" if v2 else "sd1"
    vae_dtype = vae_dtype or dtype
    path = Path(source).expanduser()
    own_vae_dtype = None if vae else vae_dtype
    if path.is_file():
        parts = _from_file(open_tensor_file(path, SETTING), path, wanted, dtype, own_vae_dtype)
    else:
        path = _folder(source)
        parts = _from_folder(path, wanted, dtype, own_vae_dtype)
    unet, own_vae, text_encoders = parts
    prediction: Prediction = "v_prediction" if v_parameterization else "epsilon"
    model = LoadedModel(
        family=wanted,
        prediction_type=prediction,
        unet=unet,
        vae=own_vae or load_vae(vae, wanted, vae_dtype),
        text_encoders=text_encoders,
        tokenizers=[load_tokenizer(wanted, i) for i in range(len(text_encoders))],
        noise_scheduler=build_noise_scheduler(prediction, zero_terminal_snr=zero_terminal_snr),
        source=source,
        vae_source=vae,
        notices=_prediction_notices(path, v_parameterization=v_parameterization),
    )
    for module in (model.unet, model.vae, *model.text_encoders):
        module.requires_grad_(False).eval()
    return model


def build_noise_scheduler(prediction_type: Prediction, *, zero_terminal_snr: bool = False) -> DDPMScheduler:
    """Stable Diffusion's noise schedule. "Zero terminal SNR": arXiv 2305.08891, algorithm 1."""
    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        clip_sample=False,
        prediction_type=prediction_type,
        rescale_betas_zero_snr=zero_terminal_snr,
    )


def load_tokenizer(family: Family, index: int = 0) -> CLIPTokenizer:
    """CLIP's tokenizer (ships with us). OpenCLIP pads with "!", OpenAI's CLIP with its end mark."""
    open_clip = family == "sd2" or (family == "sdxl" and index == 1)
    return CLIPTokenizer.from_pretrained(
        CONFIGS / "clip_tokenizer", pad_token="!" if open_clip else "<|endoftext|>"
    )


def load_vae(source: str, family: Family, dtype: torch.dtype) -> AutoencoderKL:
    """A VAE of its own: a file in either layout, a diffusers folder, or a hub id."""
    path = Path(source).expanduser()
    if not path.is_file():
        folder = _folder(source, setting="vae", needs="config.json")
        return _folder_part(AutoencoderKL, folder, "vae" if (folder / "vae").is_dir() else None, dtype, "vae")
    file = open_tensor_file(path, "vae")
    if not any("encoder.down" in name for name in file.shapes):
        raise UserError("core.not_a_vae", "vae", name=path.name)
    with _fitting(path.name, "vae"):
        return _build_vae(*read_vae(file, family, dtype))


Parts = tuple[
    UNet2DConditionModel,
    "AutoencoderKL | None",
    "list[CLIPTextModel | CLIPTextModelWithProjection]",
]


@contextmanager
def _fitting(name: str, setting: str = SETTING) -> Iterator[None]:
    """Tensors that are missing, or of sizes that no model has, are said to be that. Raises UserError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        reason = f"{type(error).__name__} {error}"[:200]
        raise UserError("core.checkpoint_misfit", setting, name=name, reason=reason) from error


def _from_file(
    file: TensorFile, path: Path, wanted: Family, dtype: torch.dtype, vae_dtype: torch.dtype | None
) -> Parts:
    found = detect_family(file.shapes)
    if found is None:
        raise UserError(_what_else(file), SETTING, name=path.name)
    _refuse_other_family(found, wanted, path.name)
    with _fitting(path.name):
        config, weights = read_unet(file, wanted, dtype)
        _refuse_inpainting(config, path.name)
        unet = _fill(_on_meta(UNet2DConditionModel, config), weights, path.name)
        vae = _build_vae(*read_vae(file, wanted, vae_dtype)) if vae_dtype else None
        texts = [_build_text_encoder(*part, path.name) for part in read_text_encoders(file, wanted, dtype)]
    return unet, vae, texts


def _from_folder(folder: Path, wanted: Family, dtype: torch.dtype, vae_dtype: torch.dtype | None) -> Parts:
    for part in folder.glob("*/config.json"):
        _check_sizes(_json(part), part)
    config = _json(folder / "unet" / "config.json")
    sdxl = (folder / "text_encoder_2").is_dir()
    found: Family = "sdxl" if sdxl else "sd2" if config.get("use_linear_projection") else "sd1"
    _refuse_other_family(found, wanted, folder.name)
    _refuse_inpainting(config, folder.name)
    kinds = [CLIPTextModel, CLIPTextModelWithProjection][: 2 if sdxl else 1]
    texts = [
        _folder_part(kind, folder, f"text_encoder{'_2' if i else ''}", dtype) for i, kind in enumerate(kinds)
    ]
    vae = _folder_part(AutoencoderKL, folder, "vae", vae_dtype) if vae_dtype else None
    return _folder_part(UNet2DConditionModel, folder, "unet", dtype), vae, texts


def _json(path: Path) -> Config:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")).items())
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError("core.folder_damaged", SETTING, path=str(path), reason=str(error)[:300]) from error


LAYERS = ("layers_per_block", "num_hidden_layers", "transformer_layers_per_block")
MOST_LAYERS = 200
LARGEST_SIZE = 1_000_000


def _check_sizes(config: Config, path: Path) -> None:
    """Refuse a configuration that asks for more layers or larger ones than any model has."""
    waiting: list[tuple[str, Any]] = [*config.items()]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, list) and len(value) <= MOST_LAYERS:
            waiting += [(key, inner) for inner in value]
        most = MOST_LAYERS if key in LAYERS else LARGEST_SIZE
        too_many = isinstance(value, list) and len(value) > MOST_LAYERS
        if too_many or (isinstance(value, int) and abs(value) > most):
            reason = f"{key} = {str(value)[:60]}"
            raise UserError("core.folder_damaged", SETTING, path=str(path), reason=reason)


def _folder_part(
    kind: Any, folder: Path, subfolder: str | None, dtype: torch.dtype, setting: str = SETTING
) -> Any:
    """One part of a diffusers folder; half-size weights are taken where the full ones are missing."""
    where = folder / subfolder if subfolder else folder
    names = [path.name for path in where.glob("*.safetensors")] + [path.name for path in where.glob("*.bin")]
    variant = "fp16" if names and all(".fp16." in name for name in names) else None
    options = {"torch_dtype": dtype} if hasattr(kind, "load_config") else {"dtype": dtype}
    try:
        return kind.from_pretrained(
            folder, subfolder=subfolder or "", local_files_only=True, variant=variant, **options
        )
    except (OSError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError("core.folder_damaged", setting, path=str(where), reason=str(error)[:300]) from error


def _folder(source: str, setting: str = SETTING, needs: str = "model_index.json") -> Path:
    """The diffusers folder meant by a path or a hub id (fetched where it is not here yet)."""
    path = Path(source).expanduser()
    if path.is_dir():
        if not (path / needs).is_file() and not (path / "unet").is_dir() and not (path / "vae").is_dir():
            raise UserError("core.not_a_model_folder", setting, path=str(path))
        return path
    if not source or source.count("/") != 1 or source.startswith((".", "/", "~")) or "\\" in source:
        raise UserError("core.file_missing", setting, path=source)
    return _from_hub(source, setting)


HUB_FILES = ("*.json", "*.txt", "*.safetensors")
HUB_LEFT_OUT = (
    "*.fp16.*",
    "*non_ema*",
    "*ema*pruned*",
    "safety_checker/*",
    "v1-5*",
    "v2-1*",
    "sd_xl*",
    "*openvino*",
)


def _from_hub(repository: str, setting: str) -> Path:
    """The folder of a hub id: the copy fetched before, else it is fetched now."""
    from huggingface_hub import snapshot_download

    options = {"allow_patterns": list(HUB_FILES), "ignore_patterns": list(HUB_LEFT_OUT)}
    try:
        return Path(snapshot_download(repository, local_files_only=True, **options))
    except OSError:
        pass
    try:
        return Path(snapshot_download(repository, **options))
    except (OSError, ValueError) as error:
        offline = os.environ.get("HF_HUB_OFFLINE", "") not in {"", "0"}
        code = "core.hub_offline" if offline else "core.hub_failed"
        raise UserError(code, setting, name=repository, reason=type(error).__name__) from error


def _on_meta(kind: Any, config: Config) -> Any:
    """A module without memory for its weights; they are put in afterwards."""
    with torch.device("meta"):
        return kind.from_config(config)


def _fill(module: Any, weights: Weights, name: str) -> Any:
    """Put the weights in as they are (no copy). Raises UserError where one is missing or misshapen."""
    try:
        missing, _ = module.load_state_dict(weights, strict=False, assign=True)
    except RuntimeError as error:
        raise UserError("core.checkpoint_misfit", SETTING, name=name, reason=str(error)[:300]) from error
    if missing:
        raise UserError("core.checkpoint_misfit", SETTING, name=name, reason=", ".join(missing[:5]))
    return module


def _build_vae(config: Config, weights: Weights) -> AutoencoderKL:
    return _fill(_on_meta(AutoencoderKL, config), weights, "VAE")


def _build_text_encoder(config: Config, weights: Weights, name: str) -> Any:
    projected = "CLIPTextModelWithProjection" in config["architectures"]
    with torch.device("meta"):
        module = (CLIPTextModelWithProjection if projected else CLIPTextModel)(CLIPTextConfig(**config))
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


def _prediction_notices(path: Path, *, v_parameterization: bool) -> tuple[Message, ...]:
    """A diffusers folder says what its UNet predicts; a one-file checkpoint does not."""
    config = path / "scheduler" / "scheduler_config.json"
    told = _json(config).get("prediction_type", "epsilon") if config.is_file() else None
    if told is None or (told == "v_prediction") == v_parameterization:
        return ()
    return (Message("core.prediction_differs", {"name": path.name, "told": told}),)


def _refuse_other_family(found: Family, wanted: Family, name: str) -> None:
    if found != wanted:
        setting = "sdxl" if "sdxl" in {found, wanted} else "v2"
        values = {"name": name, "found": FAMILY_NAMES[found], "wanted": FAMILY_NAMES[wanted]}
        raise UserError(f"core.model_is_{found}", setting, **values)


def _refuse_inpainting(config: Config, name: str) -> None:
    if config["in_channels"] != LATENT_CHANNELS:
        raise UserError("core.model_is_inpainting", SETTING, name=name)


def _what_else(file: TensorFile) -> str:
    """Which sentence tells what a file is that holds no whole checkpoint."""
    if any("lora_" in name for name in file.shapes):
        return "core.model_is_lora"
    return "core.model_is_no_checkpoint"


def enable_gradient_checkpointing(model: LoadedModel) -> None:
    """Recompute activations in the backward pass instead of keeping them: less memory, a fifth slower."""
    model.unet.enable_gradient_checkpointing()
    model.unet.train()
    for text_encoder in model.text_encoders:
        newer = getattr(text_encoder, "activation_checkpointing_enable", None)  # the other name goes
        (newer or text_encoder.gradient_checkpointing_enable)({"use_reentrant": False})
        text_encoder.train()
