"""Presets: kohya_ss files with a short card each, listed, read and compared with what the form holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.form.values import plain, shown_values, typed, typed_values
from app.texts import word
from trainer import kohya
from trainer.errors import UserError
from trainer.families.known import known_facts, source
from trainer.families.table import named_by
from trainer.families.verdict import asked_for
from trainer.files.job_folder import PROJECT
from trainer.files.paths import with_clean_paths
from trainer.kohya import Imported
from trainer.messages import Language
from trainer.schema import Setting
from trainer.settings import TRAINING, Settings

FOLDER = PROJECT / "presets"
FIRST = ("demo", "first_lora", "character", "style", "vram_6gb", "vram_8gb", "vram_12gb",
         "sdxl_character_12gb", "sdxl_8gb", "illustrious_noobai_vpred")  # fmt: skip
"""In the order in which a beginner looks for one; those for who knows what they want come after."""
CARD = ("about", "family", "memory", "time", "changes")
MINE = (
    "train_data_dir", "reg_data_dir", "output_dir", "output_name", "logging_dir", "training_comment",
    "pretrained_model_name_or_path", "model_list", "sample_prompts", "dataset_config",
)  # fmt: skip
"""Settings about one's own files: a preset that leaves them blank does not clear them."""


def preset_names(folder: Path = FOLDER) -> list[str]:
    """All presets, the demo first."""
    place = {name: at for at, name in enumerate(FIRST)}
    return sorted((path.stem for path in folder.glob("*.json")), key=lambda name: (place.get(name, 99), name))


def read(name: str, folder: Path = FOLDER) -> Imported:
    """A preset by its name. Raises UserError."""
    if name not in preset_names(folder):
        raise UserError("page.no_preset", name=name)
    return kohya.read(folder / f"{name}.json")


def cards(language: Language, folder: Path = FOLDER) -> list[dict[str, str]]:
    """Name, title and the card's sentences of every preset."""
    found = []
    for name in preset_names(folder):
        try:
            card = read(name, folder).card
        except UserError:
            continue
        title = _in(card.get("title"), language) or name.replace("_", " ")
        found.append({"name": name, "title": title, **{part: _in(card.get(part), language) for part in CARD}})
    return found


def _in(text: Any, language: Language) -> str:
    """A card's text: one for all, or one per language."""
    if isinstance(text, Mapping):
        return str(text.get(language) or text.get("en") or "")
    return str(text or "")


def with_preset(preset: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The form's content with a preset applied: complete, but what is one's own stays.

    A model of the preset's family keeps its own kind of prediction.
    """
    result = shown_values(preset)
    for key in MINE:
        if key in values and preset.get(key, TRAINING[key].default) == TRAINING[key].default:
            result[key] = values[key]
    model = with_clean_paths(Settings.from_flat(typed_values(result))).model
    facts = known_facts(model)
    if facts and facts.family == named_by(model).key:
        result |= asked_for(facts, Path(source(model)[0]).name)
    return {**{key: value for key, value in values.items() if key not in result}, **result}


def preset_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], language: Language
) -> list[dict[str, str]]:
    """Settings that would change: key, label, old and new in words."""

    def words(setting: Setting, raw: Any) -> str:
        value = typed(setting, raw)
        return word(language, "on" if value else "off") if isinstance(value, bool) else plain(setting, value)

    return [
        {
            "key": key,
            "label": setting.spec.label,
            "old": words(setting, old.get(key)),
            "new": words(setting, new.get(key)),
        }
        for key, setting in TRAINING.items()
        if key in old and key in new and typed(setting, old[key]) != typed(setting, new[key])
    ]
