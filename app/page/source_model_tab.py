"""Tab "Source model": what the LoRA is added to."""

from __future__ import annotations

from gradio.components import Component

from app.page.layout import field_section


def source_model_tab(components: dict[str, Component]) -> None:
    """Lay out the fields and add them to `components`."""
    first = ("pretrained_model_name_or_path", "model_list", "save_model_as")
    field_section(components, "source_model", "model", first)
    field_section(components, "source_model", "kind")
