"""What can be told of the base model that the settings name: a path, a hub id, a quick pick."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from trainer.families.detect import read_model
from trainer.families.facts import ModelFacts, ModelUnreadableError
from trainer.settings import Model

PATH = "pretrained_model_name_or_path"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
MODEL_ENDINGS = (".safetensors", ".ckpt", ".pt", ".bin", ".pth")
"""Of files that can be a base model."""
QUICK_PICKS: Mapping[str, ModelFacts] = {
    "stabilityai/stable-diffusion-2-1": ModelFacts("base", "sd2", v_prediction=True),
    "stabilityai/stable-diffusion-2": ModelFacts("base", "sd2", v_prediction=True),
    "stabilityai/stable-diffusion-2-1-base": ModelFacts("base", "sd2", v_prediction=False),
    "stabilityai/stable-diffusion-2-base": ModelFacts("base", "sd2", v_prediction=False),
    "stabilityai/stable-diffusion-xl-base-1.0": ModelFacts("base", "sdxl", v_prediction=False),
    "OnomaAIResearch/Illustrious-xl-early-release-v0": ModelFacts("base", "sdxl", v_prediction=False),
    "Laxhar/noobai-XL-1.0": ModelFacts("base", "sdxl", v_prediction=False),
    "Laxhar/noobai-XL-Vpred-1.0": ModelFacts("base", "sdxl", v_prediction=True, zero_terminal_snr=True),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": ModelFacts("base", "sd1", v_prediction=False),
    "CompVis/stable-diffusion-v1-4": ModelFacts("base", "sd1", v_prediction=False),
}
"""Of "Model Quick Pick", before they are downloaded."""


def source(model: Model) -> tuple[str, str]:
    """The base model's path or id, and the setting that names it: the quick pick goes before the path."""
    if model.model_list not in {"", "custom"}:
        return model.model_list, "model_list"
    return model.pretrained_model_name_or_path, PATH


def is_hub_id(name: str) -> bool:
    """Whether a name may stand for a model of the hub."""
    return bool(HUB_ID.fullmatch(name)) and not name.lower().endswith(MODEL_ENDINGS)


def hub_copies(hub_id: str) -> Path:
    """The folder for copies of a model in the hub's cache on this machine, one folder for each version."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return cache / f"models--{hub_id.replace('/', '--')}" / "snapshots"


def hub_folder(hub_id: str) -> Path | None:
    """Where a model of the hub lies in its cache on this machine; None where it does not."""
    try:
        return max(hub_copies(hub_id).iterdir(), key=lambda copy: copy.stat().st_mtime, default=None)
    except OSError:
        return None


def known_facts(model: Model) -> ModelFacts | None:
    """What can be told of the base model without loading it; None where nothing can."""
    name, _ = source(model)
    if not name:
        return None
    path = Path(name)
    if is_hub_id(name) and not path.exists():
        path = hub_folder(name) or path
    try:
        facts = read_model(path)
    except (ModelUnreadableError, OSError, ValueError):
        facts = None
    picked = QUICK_PICKS.get(name)
    return facts if facts and (facts.kind == "base" or not picked) else picked
