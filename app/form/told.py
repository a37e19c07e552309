"""What a base model says of itself: the switches that follow from it, and the sizes that it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.form import values as form
from app.texts import word
from trainer.data.buckets import resolution
from trainer.families.facts import ModelFacts
from trainer.families.family import Family
from trainer.families.known import known_facts, source
from trainer.families.table import FAMILIES
from trainer.families.verdict import asked_for
from trainer.files.paths import with_clean_paths
from trainer.messages import Language, comma
from trainer.settings import TRAINING, Settings


def told(values: Mapping[str, Any], settings: Settings, language: Language) -> dict[str, Any] | None:
    """The model, what it asks for that the form (`values`) does not have yet, and this in a sentence.

    None where nothing can be told of it.
    """
    facts = known_facts(with_clean_paths(settings).model)
    if facts is None or facts.kind != "base" or facts.family is None:
        return None
    name, _ = source(settings.model)
    family, short = FAMILIES[facts.family], Path(name).name
    wanted = asked_for(facts, short)
    changes = {key: new for key, new in wanted.items() if form.typed(TRAINING[key], values.get(key)) != new}
    labels = comma(language).join(f"**{TRAINING[key].spec.label}**" for key in changes)
    return {
        "name": name,
        "changes": changes,
        "text": word(language, "told.set", name=short, is_=said_of_model(facts, language), labels=labels),
        "note": word(language, "told.is", is_=said_of_model(facts, language)),
        "offer": _size_offered(settings, family, language) if changes.keys() & family.switches else None,
    }


def said_of_model(facts: ModelFacts, language: Language) -> str:
    """ "SDXL, v-prediction, zero terminal SNR"."""
    parts = [FAMILIES[facts.family].title] if facts.family else []
    parts += [word(language, "told.v")] if facts.v_prediction else []
    parts += [word(language, "told.zero")] if facts.zero_terminal_snr else []
    return comma(language).join(parts)


def _size_offered(settings: Settings, family: Family, language: Language) -> dict[str, Any] | None:
    """ "Max resolution" of the family, where the form has exactly that of another one."""
    try:
        size = resolution(settings.images.max_resolution)
    except ValueError:
        return None
    if size == (family.side, family.side) or size not in {(one.side, one.side) for one in FAMILIES.values()}:
        return None
    changes = {"max_resolution": f"{family.side},{family.side}"}
    return {"changes": changes, "text": word(language, "told.size", size=f"{family.side} × {family.side}")}
