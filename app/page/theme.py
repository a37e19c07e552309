"""Gradio's theme: fonts, and colours for light and dark. What has no Gradio name is in assets/theme.css."""

from __future__ import annotations

import gradio as gr

FONT = (
    "Segoe UI Variable Text", "Segoe UI", "-apple-system", "BlinkMacSystemFont", "Hiragino Sans",
    "Noto Sans CJK JP", "Noto Sans JP", "Yu Gothic UI", "Meiryo", "system-ui", "sans-serif",
)  # fmt: skip
"""`system-ui` last: first, it gives DejaVu Sans on Debian and a thin Yu Gothic on Japanese Windows."""
MONO = (
    "ui-monospace",
    "Cascadia Mono",
    "Consolas",
    "Menlo",
    "Liberation Mono",
    "Noto Sans Mono CJK JP",
    "monospace",
)
COLOURS: dict[str, tuple[str, str]] = {
    "body_background_fill": ("#f6f8f7", "#121716"),
    "background_fill_primary": ("#ffffff", "#1a201f"),
    "background_fill_secondary": ("#edf1f0", "#242b2a"),
    "border_color_primary": ("#dde4e2", "#2d3635"),
    "border_color_accent": ("#0b6b62", "#63c9ba"),
    "body_text_color": ("#17211f", "#e5ebe9"),
    "body_text_color_subdued": ("#546260", "#a2b0ad"),
    "color_accent_soft": ("#deefec", "#19362f"),
    "link_text_color": ("#0b6b62", "#63c9ba"),
    "link_text_color_hover": ("#08564f", "#83d8cb"),
    "link_text_color_active": ("#0b6b62", "#63c9ba"),
    "link_text_color_visited": ("#0b6b62", "#63c9ba"),
    "button_primary_background_fill": ("#0b6b62", "#63c9ba"),
    "button_primary_background_fill_hover": ("#08564f", "#83d8cb"),
    "button_primary_text_color": ("#ffffff", "#05211c"),
    "button_secondary_background_fill": ("#e6ecea", "#29312f"),
    "button_secondary_text_color": ("#17211f", "#e5ebe9"),
    "input_background_fill": ("#ffffff", "#1a201f"),
    "input_background_fill_focus": ("#ffffff", "#1a201f"),
    "input_border_color": ("#87948f", "#6a7976"),
    "input_border_color_focus": ("#0b6b62", "#63c9ba"),
    "input_placeholder_color": ("#63716e", "#95a3a0"),
    "error_text_color": ("#a8231b", "#ff9f96"),
    "error_background_fill": ("#fcecea", "#3a201d"),
    "error_border_color": ("#d9877f", "#8c4a43"),
    "block_background_fill": ("transparent", "transparent"),
    "block_label_background_fill": ("transparent", "transparent"),
    "block_title_text_color": ("#17211f", "#e5ebe9"),
    "checkbox_background_color": ("#ffffff", "#1a201f"),
    "checkbox_background_color_selected": ("#0b6b62", "#63c9ba"),
    "checkbox_border_color": ("#87948f", "#6a7976"),
    "checkbox_border_color_selected": ("#0b6b62", "#63c9ba"),
    "checkbox_border_color_focus": ("#0b6b62", "#63c9ba"),
    "slider_color": ("#0b6b62", "#63c9ba"),
}


def theme() -> gr.themes.Base:
    """Pine green on quiet grey; fields lie on the page, not in boxes."""
    base = gr.themes.Base(
        primary_hue="teal", neutral_hue="slate", radius_size="sm", spacing_size="sm", text_size="sm",
        font=FONT, font_mono=MONO,
    )  # fmt: skip
    values: dict[str, str] = {"color_accent": "#0b6b62"}
    for name, (light, dark) in COLOURS.items():
        values[name], values[f"{name}_dark"] = light, dark
    flat = ("block_border_width", "block_label_border_width", "panel_border_width", "form_gap_width")
    values.update(dict.fromkeys(flat, "0px"))
    values.update(
        dict.fromkeys(("block_shadow", "input_shadow", "input_shadow_focus", "button_primary_shadow"), "none")
    )
    return base.set(**values)
