"""What stands at the fields of a form: why one is idle, what is wrong, and what the fix button does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.form import own_pictures
from app.form import values as form
from app.texts import word
from trainer.families.table import FAMILIES
from trainer.messages import Language, comma
from trainer.problems import Problem
from trainer.schema import SET, Schema, Setting
from trainer.settings import TRAINING


def idle(values: Mapping[str, Any], language: Language, schema: Schema[Any] = TRAINING) -> dict[str, str]:
    """Why a setting has no effect now, by key."""
    known = form.typed_values(values, schema)
    reasons = {}
    for key, setting in schema.items():
        if others := schema.idle_because(key, known):
            reasons[key] = _idle_reason(setting, others[0], known, language, schema)
        elif setting.spec.unbuilt is True:
            reasons[key] = word(language, "idle.unbuilt")
    return reasons


def _idle_reason(
    setting: Setting, key: str, known: Mapping[str, Any], language: Language, schema: Schema[Any]
) -> str:
    """By the setting `key`, or the derived one, that makes it idle."""
    wanted = setting.spec.matters[key]
    if key == "family":
        titles = comma(language).join(FAMILIES[one].title for one in wanted)
        return word(language, "idle.for_family", titles=titles)
    other = schema[key]
    label = other.spec.label
    if wanted in ((SET,), (True,)):
        return word(language, "idle.only_with", label=label)
    if wanted in ((False,), (0,), ("",)):
        return word(language, "idle.only_without", label=label)
    if len(wanted) > 3:
        return word(language, "idle.not_with", label=label, value=form.plain(other, known.get(key)))
    values = comma(language).join(form.plain(other, value) for value in wanted)
    return word(language, "idle.only_for", label=label, values=values)


def problem_json(
    problem: Problem, values: Mapping[str, Any], language: Language, schema: Schema[Any] = TRAINING
) -> dict[str, Any]:
    """A problem in words, with where it is and what its button does."""
    setting = schema.get(problem.setting)
    data = problem.as_json(language)
    fix = data["changes"]
    real = {key: new for key, new in fix.items() if form.typed(schema[key], values.get(key)) != new}
    data["changes"] = {key: form.shown(schema[key], new) for key, new in (real or fix).items()}
    data["button"] = fix_words(data["changes"], language, schema)
    if problem.setting == "train_data_dir" and problem.code in own_pictures.MENDED:
        data["does"] = "list_pictures"
        data["button"] = word(language, "fix.list_pictures", count=own_pictures.REPEATS)
    data["label"] = setting.spec.label if setting else ""
    data["tab"] = setting.spec.tab if setting else ""
    data["missing"] = bool(
        setting and setting.spec.required and problem.blocks and values.get(problem.setting) in ("", None)
    )
    return data


def fix_words(changes: Mapping[str, Any], language: Language, schema: Schema[Any] = TRAINING) -> str:
    """The fix button: what it sets."""
    if len(changes) != 1:
        labels = comma(language).join(schema[key].spec.label for key in changes)
        return word(language, "fix.several", labels=labels) if changes else ""
    [(key, value)] = changes.items()
    if schema[key].spec.widget == "hidden":  # a yes to what the problem says
        return word(language, "fix.allow")
    label = schema[key].spec.label
    if isinstance(value, bool):
        return word(language, "fix.turn_on" if value else "fix.turn_off", label=label)
    if value in ("", None):
        return word(language, "fix.clear", label=label)
    text = form.plain(schema[key], value)
    return word(language, "fix.use", value=text if len(text) <= 48 else f"…{text[-46:]}", label=label)
