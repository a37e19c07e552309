"""Where each setting stands in the form: its group, and which groups are behind a title."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trainer.schema import Schema, Setting
from trainer.settings import TRAINING


def keys_of(tab: str, group: str, first: Iterable[str] = (), schema: Schema[Any] = TRAINING) -> list[str]:
    """A group's settings, those named first in front."""
    keys = [key for key, setting in schema.items() if (setting.spec.tab, setting.spec.group) == (tab, group)]
    front = [key for key in first if key in keys]
    return front + [key for key in keys if key not in front]


FOLD_OUTS = ("captions", "learning", "memory", "pictures_changes", "noise", "saving", "validation", "records",
             "metadata", "huggingface", "processes")  # fmt: skip
"""Groups of Advanced that are behind their titles."""
LORA_MORE = tuple(
    key
    for key in keys_of("training", "lora")
    if key not in ("LoRA_type", "network_weights", "dim_from_weights")
)
"""Settings of single LoRA types."""


def fold_of(setting: Setting) -> str:
    """The fold-out that a setting lies in; "" where it is in plain view."""
    group = setting.spec.group
    return "lora_more" if setting.key in LORA_MORE else group if group in FOLD_OUTS else ""
