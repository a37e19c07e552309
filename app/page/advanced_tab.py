"""Tab "Advanced": the U-Net's blocks, sample pictures, and fold-outs for all the rest."""

from __future__ import annotations

import gradio as gr
from gradio.components import Component

from app.form.groups import FOLD_OUTS, keys_of
from app.page.layout import field_section, fold_out, heading, raw_html
from app.page.widgets import add_fields

BLOCK_TABS = ("weights", "blocks", "conv")


def advanced_tab(components: dict[str, Component], i18n: gr.I18n) -> None:
    """Lay out the fields and add them to `components`."""
    with gr.Column(elem_classes=["la-sec", "wide"], elem_id="s-unet", min_width=0):
        raw_html(heading("unet"), elem_classes="la-headbox")
        with gr.Tabs(elem_id="block-tabs"):
            for group in BLOCK_TABS:
                with gr.Tab(i18n(f"g.{group}"), id=group, elem_id=f"t-{group}"):
                    raw_html(f'<div class="la-unet" data-kind="{group}"></div>', elem_classes="la-slot")
                    with gr.Row(elem_classes=["fields", f"blocks-{group}"]):
                        add_fields(components, keys_of("advanced", group))
    for group in FOLD_OUTS:
        fold_out(components, i18n, group)
    field_section(components, "advanced", "samples")
    raw_html('<div id="la-prompts"></div>', elem_classes="la-slot")
