"""Checks of the base model: there, whole, trainable, and of the family that the settings say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from trainer.families.detect import (
    PATH,
    Family,
    ModelFacts,
    ModelUnreadableError,
    family_by_settings,
    known_facts,
    read_model,
    source,
)
from trainer.problems import Problem, block, hint
from trainer.settings import Model

ENDINGS = (".safetensors", ".ckpt", ".pt", ".bin", ".pth")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
NAMES: dict[Family, str] = {"sd1": "Stable Diffusion 1.x", "sd2": "Stable Diffusion 2.x", "sdxl": "SDXL"}
SWITCHES: dict[Family, dict[str, bool]] = {
    "sd1": {"v2": False, "sdxl": False},
    "sd2": {"v2": True, "sdxl": False},
    "sdxl": {"v2": False, "sdxl": True},
}


def check(model: Model) -> Iterator[Problem]:
    """Problems of the base model and the VAE."""
    name, setting = source(model)
    if not name:
        yield block(PATH, "preflight.model_missing")
    else:
        yield from _check_place(name, setting)
        if facts := known_facts(model):
            yield from _check_kind(facts, setting, Path(name).name, model)
    if model.vae:
        yield from _check_vae(model.vae)
    if model.v_parameterization and not model.v2 and not model.sdxl and not (facts := known_facts(model)):
        yield hint("v_parameterization", "preflight.v_without_v2", {"v_parameterization": False})


def _check_place(name: str, setting: str) -> Iterator[Problem]:
    path = Path(name)
    if not path.exists():
        if setting == "model_list" or (HUB_ID.fullmatch(name) and not name.lower().endswith(ENDINGS)):
            if not _downloaded(name):
                yield hint(setting, "preflight.model_download", name=name)
        else:
            yield block(setting, "preflight.model_not_found", path=name)
        return
    if path.is_file() and path.suffix.lower() not in ENDINGS:
        yield block(setting, "preflight.model_ending", name=path.name)
        return
    try:
        read_model(path)
    except ModelUnreadableError as error:
        yield block(setting, f"preflight.model_{error}", name=path.name)
    except OSError:
        yield block(setting, "preflight.model_no_access", name=path.name)


def _downloaded(hub_id: str) -> bool:
    """Whether a model of the hub lies in its cache on this machine."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return (cache / f"models--{hub_id.replace('/', '--')}").is_dir()


def _check_kind(facts: ModelFacts, setting: str, name: str, model: Model) -> Iterator[Problem]:
    if facts.kind in {"lora", "vae", "other_model"}:
        yield block(setting, f"preflight.model_is_{facts.kind}", name=name)
    elif facts.inpainting:
        yield block(setting, "preflight.model_inpainting", name=name)
    elif facts.family and facts.family != (chosen := family_by_settings(model)):
        values = {"name": name, "found": NAMES[facts.family], "chosen": NAMES[chosen]}
        switch = "sdxl" if "sdxl" in {facts.family, chosen} else "v2"
        yield block(
            switch, "preflight.model_family", {**SWITCHES[facts.family], **_velocity(facts)}, **values
        )
    elif facts.v_prediction is not None and facts.v_prediction != model.v_parameterization:
        code = "preflight.model_velocity" if facts.v_prediction else "preflight.model_no_velocity"
        yield hint("v_parameterization", code, _velocity(facts), name=name)
    elif (
        facts.family == "sd2"
        and facts.v_prediction is None
        and "768" in name
        and not model.v_parameterization
    ):
        yield hint(
            "v_parameterization", "preflight.model_likely_velocity", {"v_parameterization": True}, name=name
        )
    elif model.v_parameterization and facts.family == "sd1" and facts.v_prediction is None:
        yield hint("v_parameterization", "preflight.v_without_v2", {"v_parameterization": False})


def _velocity(facts: ModelFacts) -> dict[str, bool]:
    return {} if facts.v_prediction is None else {"v_parameterization": facts.v_prediction}


def _check_vae(name: str) -> Iterator[Problem]:
    path = Path(name)
    fix = {"vae": ""}
    if not path.exists():
        if not HUB_ID.fullmatch(name) or name.lower().endswith(ENDINGS):
            yield block("vae", "preflight.vae_not_found", fix, path=name)
        return
    if path.is_dir():
        if not any((path / part).exists() for part in ("config.json", "vae/config.json")):
            yield block("vae", "preflight.vae_no_vae", fix, name=path.name)
        return
    if path.suffix.lower() == ".safetensors":
        try:
            facts = read_model(path)
        except (ModelUnreadableError, OSError):
            yield block("vae", "preflight.vae_damaged", fix, name=path.name)
            return
        if facts.kind in {"lora", "other_model"} or (facts.kind == "base" and not facts.vae):
            yield block("vae", "preflight.vae_no_vae", fix, name=path.name)
