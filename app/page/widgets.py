"""The schema as widgets: the only file that knows which widget fits which setting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gradio as gr
from gradio.components import Component

from app.form.values import shown
from trainer.schema import Schema, Setting
from trainer.settings import TRAINING

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
    attributes: Any = (
        {**PLAIN_HTML, "inputmode": "decimal"} if widget == "rate" and not setting.pair else PLAIN_HTML
    )
    return gr.Textbox(max_lines=1, html_attributes=attributes, **common)


def add_fields(components: dict[str, Component], keys: Iterable[str], schema: Schema[Any] = TRAINING) -> None:
    """Put the widgets of some settings here."""
    for key in keys:
        components[key] = component_for(schema[key])
