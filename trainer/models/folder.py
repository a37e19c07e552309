"""Diffusers folders, on disk or from the hub, and their parts."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch

from trainer.errors import UserError, is_out_of_memory
from trainer.families.folder import PARTS

MODEL_SETTING = "pretrained_model_name_or_path"
Config = dict[str, Any]


def read_json(path: Path) -> Config:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")).items())
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(
            "core.folder_damaged", MODEL_SETTING, path=str(path), reason=str(error)[:300]
        ) from error


LAYERS = ("layers_per_block", "num_hidden_layers", "transformer_layers_per_block")
MOST_LAYERS = 200
LARGEST_SIZE = 1_000_000


def refuse_huge_sizes(folder: Path) -> None:
    """Raises UserError where a part asks for more layers or larger ones than any model has."""
    for path in folder.glob("*/config.json"):
        _check_sizes(read_json(path), path)


def _check_sizes(config: Config, path: Path) -> None:
    """Refuse a configuration that asks for more layers or larger ones than any model has."""
    waiting: list[tuple[str, Any]] = [*config.items()]
    while waiting:
        key, value = waiting.pop()
        # Settings per level are lists, of depth two at most; longer ones are refused below.
        if isinstance(value, list) and len(value) <= MOST_LAYERS:
            waiting += [(key, inner) for inner in value]
        most = MOST_LAYERS if key in LAYERS else LARGEST_SIZE
        too_many = isinstance(value, list) and len(value) > MOST_LAYERS
        if too_many or (isinstance(value, int) and abs(value) > most):
            reason = f"{key} = {str(value)[:60]}"
            raise UserError("core.folder_damaged", MODEL_SETTING, path=str(path), reason=reason)


def weight_files(folder: Path) -> list[Path]:
    """The .safetensors of a part; half-size ones where there are no others."""
    files = sorted(folder.glob("*.safetensors"))
    # The full-size weights where both are there; an EMA's other half is not what is drawn with.
    return [path for path in files if not re.search(r"\.fp16\b|non_ema", path.name)] or files


def folder_part(
    kind: Any, folder: Path, subfolder: str | None, dtype: torch.dtype, setting: str = MODEL_SETTING
) -> Any:
    """One part of a diffusers folder; half-size weights are taken where the full ones are missing."""
    where = folder / subfolder if subfolder else folder
    names = [path.name for path in where.glob("*.safetensors")] + [path.name for path in where.glob("*.bin")]
    # diffusers looks for one kind only and must be told which.
    variant = "fp16" if names and all(".fp16." in name for name in names) else None
    # diffusers' and transformers' names for the same.
    options = {"torch_dtype": dtype} if hasattr(kind, "load_config") else {"dtype": dtype}
    try:
        return kind.from_pretrained(
            folder, subfolder=subfolder or "", local_files_only=True, variant=variant, **options
        )
    except (OSError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError("core.folder_damaged", setting, path=str(where), reason=str(error)[:300]) from error


def model_folder(source: str, setting: str = MODEL_SETTING, needs: str = "model_index.json") -> Path:
    """The diffusers folder meant by a path or a hub id (fetched where it is not here yet)."""
    path = Path(source).expanduser()
    if path.is_dir():
        if not (path / needs).is_file() and not (path / "unet").is_dir() and not (path / "vae").is_dir():
            raise UserError("core.not_a_model_folder", setting, path=str(path))
        return path
    # What looks like a path is none of the hub's: nothing is asked of the network for a typing error.
    if not source or source.count("/") != 1 or source.startswith((".", "/", "~")) or "\\" in source:
        raise UserError("core.file_missing", setting, path=source)
    return _from_hub(source, setting)


HUB_FILES = ("*.json", "*.txt", "*/*.safetensors", "diffusion_pytorch_model*.safetensors")
"""Of a diffusers folder, or of a VAE; a checkpoint of the same model beside the folders stays where it is."""
HUB_LEFT_OUT = ("*.fp16.*", "*non_ema*", "*ema*pruned*", "safety_checker/*", "*openvino*", "vae_1_0/*")
WEIGHT_FILES = ("*.safetensors", "*.bin")


def _from_hub(repository: str, setting: str) -> Path:
    """The folder of a hub id: the copy fetched before, else it is fetched now.

    Parts that have their weights in another form than usual are fetched in that one.
    """
    from huggingface_hub import snapshot_download

    options = {"allow_patterns": list(HUB_FILES), "ignore_patterns": list(HUB_LEFT_OUT)}
    try:
        # First without the network: a model that is here trains offline.
        folder = Path(snapshot_download(repository, local_files_only=True, **options))
    except OSError:
        pass
    else:
        if not _without_weights(folder):
            return folder
    try:
        folder = Path(snapshot_download(repository, **options))
        # Old models have pickles alone; they are read without executing anything.
        if lacking := _without_weights(folder):
            other = [f"{part}/{form}" for part in lacking for form in WEIGHT_FILES]
            snapshot_download(repository, allow_patterns=other, ignore_patterns=["*non_ema*"])
    except (OSError, ValueError) as error:
        offline = os.environ.get("HF_HUB_OFFLINE", "") not in {"", "0"}
        code = "core.hub_offline" if offline else "core.hub_failed"
        raise UserError(code, setting, name=repository, reason=type(error).__name__) from error
    return folder


def _without_weights(folder: Path) -> list[str]:
    """Parts of a model that have a configuration and nothing else."""
    there = [part for part in (*PARTS, "transformer") if (folder / part / "config.json").is_file()]
    return [part for part in there if not any(any((folder / part).glob(form)) for form in WEIGHT_FILES)]
