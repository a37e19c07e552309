"""Write TOML as sd-scripts reads it: one flat table, sorted, quoted right on every system."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def toml_text(values: Mapping[str, Any]) -> str:
    """One line per option. None is left out. Raises TypeError for what TOML cannot say here."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in sorted(values.items()) if value is not None)


def dataset_text(general: Mapping[str, Any], datasets: Sequence[Mapping[str, Any]]) -> str:
    """A dataset file: [general], [[datasets]], [[datasets.subsets]]. Raises TypeError like `toml_text`."""
    parts = [f"[general]\n{toml_text(general)}"] if general else []
    for dataset in datasets:
        own = {key: value for key, value in dataset.items() if key != "subsets"}
        parts.append(f"[[datasets]]\n{toml_text(own)}")
        subsets = dataset.get("subsets", ())
        parts += [f"[[datasets.subsets]]\n{toml_text(subset)}" for subset in subsets]
    return "\n".join(parts)


def can_say(value: Any) -> bool:
    """Whether a value has a place in such a table."""
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, (str, int, float)) for item in value)
    return isinstance(value, (str, int, float))


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, str):
        return _text(value)
    raise TypeError(f"{type(value).__name__} has no place in this TOML")


def _text(text: str) -> str:
    """Paths of Windows in single quotes, where a backslash is a backslash; else with escapes."""
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
