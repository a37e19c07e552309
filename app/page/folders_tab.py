"""Tab "Folders": pictures in, results out, and what the pictures will be learned as."""

from __future__ import annotations

from gradio.components import Component

from app.page.layout import field_section, raw_html


def folders_tab(components: dict[str, Component]) -> None:
    """Lay out the fields and add them to `components`."""
    field_section(components, "folders", "pictures")
    first = ("output_dir", "output_name", "logging_dir", "training_comment")
    field_section(components, "folders", "results", first)
    raw_html('<section id="la-dataset"></section>', elem_classes="la-slot")
