"""The schema as widgets and back: the only file that knows which widget fits which setting."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from trainer.kohya.fitting import fit
from trainer.settings import SETTINGS, Setting

WIDE = {
    "pretrained_model_name_or_path": 3, "train_data_dir": 3, "reg_data_dir": 3, "dataset_config": 3,
    "output_dir": 2, "logging_dir": 2, "model_list": 2, "optimizer_args": 2, "network_weights": 2,
    "vae": 2, "resume": 3, "additional_parameters": 3, "lr_scheduler_args": 2, "log_tracker_config": 2,
    "metadata_description": 2, "extra_accelerate_launch_args": 3, "sample_prompts": 3,
    "block_dims": 3, "block_alphas": 3, "conv_block_dims": 3, "conv_block_alphas": 3,
}  # fmt: skip
"""Columns of three that a field takes, where it is not one."""
PLAIN_HTML: Any = {"autocomplete": "off", "spellcheck": False, "autocapitalize": "off"}


def element_id(key: str) -> str:
    """The field's id in the page."""
    return f"f-{key}"


def component_for(setting: Setting) -> Component:
    """The widget of a setting, with its default. It checks nothing: that is preflight's work.

    gr.Number gets no bounds and gr.Dropdown takes any text, since Gradio would answer a bad value with a
    toast that names no field.
    """
    spec, kind = setting.spec, setting.kind
    common: dict[str, Any] = {
        "label": spec.label,
        "value": shown(setting, setting.default),
        "elem_id": element_id(setting.key),
        "elem_classes": ["la-field", f"c{WIDE.get(setting.key, 1)}", f"w-{spec.widget or kind}"],
        "interactive": True,
        "min_width": 0,
    }
    if kind == "switch":
        return gr.Checkbox(**common)
    if kind == "choice" and len(setting.choices) == 2 and "" not in setting.choices:
        return gr.Radio(list(setting.choices), **common)
    if kind == "choice":
        return gr.Dropdown(list(setting.choices), allow_custom_value=True, **common)
    if spec.suggestions and not spec.widget and "" not in spec.suggestions:
        return gr.Dropdown(list(spec.suggestions), allow_custom_value=True, **common)
    if spec.widget == "percent":
        return gr.Slider(0, 100, step=1, **common)
    if kind in ("int", "float") and spec.widget != "rate":
        return gr.Number(step=1 if kind == "int" else 0.01, **common)
    return _text(setting, common)


def _text(setting: Setting, common: dict[str, Any]) -> gr.Textbox:
    widget = setting.spec.widget
    if widget == "lines":
        return gr.Textbox(lines=4, max_lines=16, **common)
    if widget == "secret":
        return gr.Textbox(type="password", html_attributes=PLAIN_HTML, **common)
    attributes: Any = {**PLAIN_HTML, "inputmode": "decimal"} if widget == "rate" else PLAIN_HTML
    return gr.Textbox(max_lines=1, html_attributes=attributes, **common)


def shown(setting: Setting, value: Any) -> Any:
    """A value as its widget holds it: learning rates are texts such as "5e-5"."""
    if setting.spec.widget == "rate":
        return "" if value is None else value if isinstance(value, str) else rate_text(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def shown_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for all widgets; those that are absent take their default."""
    return {key: shown(setting, values.get(key, setting.default)) for key, setting in SETTINGS.items()}


def typed(key: str, raw: Any) -> Any:
    """The value that a widget's content stands for (the nearest legal one)."""
    return fit(key, raw, SETTINGS[key].default).value


def changed(raw: Mapping[str, Any]) -> list[str]:
    """Keys whose content differs from the default, in the order of declaration."""
    return [
        key
        for key, setting in SETTINGS.items()
        if key in raw and not _same(raw[key], shown(setting, setting.default), key)
    ]


def _same(raw: Any, default: Any, key: str) -> bool:
    if raw in ("", None) and default in ("", None):
        return True
    return raw == default or (typed(key, raw) == SETTINGS[key].default and _readable(key, raw))


def _readable(key: str, raw: Any) -> bool:
    """Whether the content itself is that value, and not only replaced by it."""
    result = fit(key, raw, SETTINGS[key].default)
    return not result.attention and result.why != "kohya.not_whole"


def rate_text(value: float) -> str:
    """1e-4, 5e-5, 0.002, 1: short and without a leading zero in the exponent."""
    if value == 0 or abs(value) >= 0.001:
        return f"{value:g}"
    exponent = math.floor(math.log10(abs(value)))
    mantissa = float(f"{value / 10.0**exponent:.6g}")
    if mantissa >= 10:
        mantissa, exponent = mantissa / 10, exponent + 1
    return f"{mantissa:g}e{exponent}"


def plain(key: str, value: Any) -> str:
    """A value for people: "" and None as they are seen by the caller's word for blank."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "✓" if value else "–"
    return str(shown(SETTINGS[key], value))


def keys_of(tab: str, group: str, first: Iterable[str] = ()) -> list[str]:
    """A group's settings, those named first in front."""
    keys = [
        key for key, setting in SETTINGS.items() if (setting.spec.tab, setting.spec.group) == (tab, group)
    ]
    front = [key for key in first if key in keys]
    return front + [key for key in keys if key not in front]


def add_fields(components: dict[str, Component], keys: Iterable[str]) -> None:
    """Put the widgets of some settings here."""
    for key in keys:
        components[key] = component_for(SETTINGS[key])
