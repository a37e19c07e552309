"""Whether a base model can be trained under these settings: one answer for the checks and for the loader."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.families.facts import ModelFacts
from trainer.families.others import ModelKind
from trainer.families.table import FAMILIES, named_by
from trainer.settings import FamilyKey, Model

CODES: Mapping[ModelKind, str] = {
    "lora": "base_model.is_lora",
    "vae": "base_model.is_vae",
    "text_encoder": "base_model.is_text_encoder",
    "part": "base_model.is_part",
    "embedding": "base_model.is_embedding",
    "controlnet": "base_model.is_controlnet",
    "addition": "base_model.is_addition",
    "upscaler": "base_model.is_upscaler",
    "refiner": "base_model.is_refiner",
    "inpainting": "base_model.is_inpainting",
    "depth": "base_model.is_depth",
    "mixed": "base_model.is_mixed",
    "other_model": "base_model.is_other",
}
"""What is said of a file that is no base model; where its kind is unknown, loading it will tell."""


@dataclass(frozen=True)
class Refusal:
    """Why a model cannot be trained."""

    code: str
    """Of a message with a `name`."""
    setting: str = ""
    """The setting to look at; "": the one that names the model."""
    values: Mapping[str, Any] = field(default_factory=dict)
    fix: Mapping[str, Any] | None = None
    """Settings with which it can be."""


def verdict(facts: ModelFacts, model: Model, name: str) -> Refusal | None:
    """What stands in the way of training a model under the settings v2 and SDXL Model; None: nothing."""
    if facts.kind == "unknown":
        return None
    if facts.kind != "base":
        code = "base_model.is_named" if facts.title and facts.kind == "other_model" else CODES[facts.kind]
        return Refusal(code, values={"name": name, "title": facts.title})
    family = named_by(model)
    if facts.family is None or facts.family == family.key:
        return None
    found = FAMILIES[facts.family]
    switches = {key: value for key, value in found.switches.items() if getattr(model, key) != value}
    values = {"name": name, "found": found.title, "chosen": family.title}
    return Refusal("base_model.other_family", next(iter(switches)), values, asked_for(facts, name))


LIKELY_VELOCITY: Mapping[FamilyKey, re.Pattern[str]] = {
    "sd2": re.compile("768"),
    "sdxl": re.compile(r"v[-_ ]?pred", re.IGNORECASE),
}
"""Names of files made with v-prediction that carry no mark of it: SD2's for 768 pixels, NoobAI's children."""


def likely_velocity(facts: ModelFacts, name: str) -> bool:
    """Whether only the file's name says that a model was made with v-prediction."""
    form = LIKELY_VELOCITY.get(facts.family) if facts.family else None
    return facts.v_prediction is None and form is not None and bool(form.search(name))


def asked_for(facts: ModelFacts, name: str) -> dict[str, bool]:
    """The switches that a base model itself asks for; where it has no mark of v-prediction, its name tells.

    Zero terminal SNR stays as it is in a model with v-prediction that says nothing of it.
    """
    if facts.kind != "base" or facts.family is None:
        return {}
    velocity = likely_velocity(facts, name) if facts.v_prediction is None else facts.v_prediction
    known = {} if velocity and not facts.zero_terminal_snr else {"zero_terminal_snr": facts.zero_terminal_snr}
    return {**FAMILIES[facts.family].switches, "v_parameterization": velocity, **known}
