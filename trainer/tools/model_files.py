"""The models that tools read: what is none is told before anything is done with it. Loads no torch."""

from __future__ import annotations

from pathlib import Path

from trainer.errors import UserError
from trainer.families.detect import read_model
from trainer.families.facts import ModelUnreadableError
from trainer.families.family import Family
from trainer.families.others import ModelKind
from trainer.families.table import FAMILIES
from trainer.files.stand_ins import stand_in

HAS_WEIGHTS: frozenset[ModelKind] = frozenset(("base", "inpainting", "depth", "part", "unknown"))
"""Kinds of files that hold a UNet of a known family."""
DRAWABLE: frozenset[ModelKind] = frozenset(("base", "unknown"))
"""Kinds that pictures can be drawn with."""


def family_of_model(path: Path, setting: str, kinds: frozenset[ModelKind] = HAS_WEIGHTS) -> Family:
    """The family of a model. Raises UserError at its setting where it cannot be read, or is none."""
    try:
        facts = read_model(path)
    except (ModelUnreadableError, OSError) as error:
        raise UserError(stand_in(path) or "tools.model_unreadable", setting, name=path.name) from error
    if facts.kind == "lora":
        raise UserError("tools.model_is_lora", setting, name=path.name)
    if facts.family is None or facts.kind not in kinds:
        raise UserError("tools.model_unknown", setting, name=path.name)
    return FAMILIES[facts.family]
