"""Checks of the base model: there, whole, trainable, and of the family that the settings say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trainer.families.detect import read_model
from trainer.families.facts import ModelFacts, ModelUnreadableError
from trainer.families.known import MODEL_ENDINGS, PATH, hub_folder, is_hub_id, known_facts, source
from trainer.families.verdict import asked_for, likely_velocity, verdict
from trainer.files.stand_ins import stand_in
from trainer.problems import Problem, block, hint
from trainer.settings import Model

UNREADABLE = {
    "damaged": "preflight.model_damaged",
    "incomplete": "preflight.model_incomplete",
    "no_model": "preflight.model_no_model",
}


def check(model: Model) -> Iterator[Problem]:
    """Problems of the base model and the VAE."""
    name, setting = source(model)
    facts = known_facts(model)
    if not name:
        yield block(PATH, "preflight.model_missing")
    else:
        yield from _check_place(name, setting)
        if facts:
            yield from _check_kind(facts, setting, Path(name).name, model)
    if model.vae:
        yield from _check_vae(model.vae)
    if model.v_parameterization and not model.v2 and not model.sdxl and not facts:
        yield hint("v_parameterization", "preflight.v_without_v2", {"v_parameterization": False})


def _check_place(name: str, setting: str) -> Iterator[Problem]:
    path = Path(name)
    if not path.exists():
        if setting == "model_list" or is_hub_id(name):
            if not hub_folder(name):
                yield hint(setting, "preflight.model_download", name=name)
        else:
            yield block(setting, "preflight.model_not_found", path=name)
        return
    if path.is_file() and path.suffix.lower() not in MODEL_ENDINGS:
        yield block(setting, "preflight.model_ending", name=path.name)
        return
    try:
        read_model(path)
    except ModelUnreadableError as error:
        yield block(setting, stand_in(path) or UNREADABLE[str(error)], name=path.name)
    except OSError:
        yield block(setting, "preflight.model_no_access", name=path.name)


def _check_kind(facts: ModelFacts, setting: str, name: str, model: Model) -> Iterator[Problem]:
    if fault := verdict(facts, model, name):
        yield block(fault.setting or setting, fault.code, fault.fix, **fault.values)
    elif facts.v_prediction is not None and facts.v_prediction != model.v_parameterization:
        code = "preflight.model_velocity" if facts.v_prediction else "preflight.model_no_velocity"
        yield hint("v_parameterization", code, asked_for(facts, name), name=name)
    elif likely_velocity(facts, name) and not model.v_parameterization:
        code = (
            "preflight.model_likely_velocity" if facts.family == "sd2" else "preflight.model_named_velocity"
        )
        yield hint("v_parameterization", code, {"v_parameterization": True}, name=name)
    elif model.v_parameterization and facts.family == "sd1" and facts.v_prediction is None:
        yield hint("v_parameterization", "preflight.v_without_v2", asked_for(facts, name))


def _check_vae(name: str) -> Iterator[Problem]:
    path = Path(name)
    fix = {"vae": ""}
    if not path.exists():
        if not is_hub_id(name):
            yield block("vae", "preflight.vae_not_found", fix, path=name)
        return
    if path.is_dir() and not any((path / part).exists() for part in ("config.json", "vae/config.json")):
        yield block("vae", "preflight.vae_no_vae", fix, name=path.name)
    elif code := stand_in(path):
        yield block("vae", code, fix, name=path.name)
    elif path.suffix.lower() == ".safetensors":
        try:
            facts = read_model(path)
        except (ModelUnreadableError, OSError):
            yield block("vae", "preflight.vae_damaged", fix, name=path.name)
            return
        if facts.kind in {"lora", "other_model"} or (facts.kind == "base" and not facts.vae):
            yield block("vae", "preflight.vae_no_vae", fix, name=path.name)
