"""Recognise what a file or a pasted text is, and read it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.kohya.gui_json import read_kohya
from trainer.kohya.reading import check_values, decode, parse_json, parse_toml, read_bytes
from trainer.kohya.report import Imported
from trainer.kohya.sd_scripts import from_sd_scripts

SD_SCRIPTS_ONLY = {"network_module", "optimizer_type", "resolution", "network_args"}
"""Keys that only sd-scripts has, against kohya_ss's own names for the same."""


def read(source: Mapping[str, Any] | Path | str) -> Imported:
    """Settings and a report from a mapping, a file's path, or a pasted text.

    Raises UserError (never anything else) when it cannot be read at all.
    """
    if isinstance(source, Mapping):
        check_values(source, "…")
        return read_mapping(source)
    if isinstance(source, Path):
        return read_file(source)
    return read_text(source) if "\n" in source or len(source) > 1000 else read_file(Path(source))


def read_file(path: Path) -> Imported:
    """Settings from a file; what it is shows in its name, else in its content."""
    path = Path(path)
    return read_text(decode(read_bytes(path), path.name), path.name)


def read_text(text: str, name: str = "…") -> Imported:
    """Settings from text: JSON, TOML or a command."""
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("{") or name.lower().endswith(".json"):
        return read_mapping(parse_json(text.lstrip("\ufeff"), name))
    return read_mapping(parse_toml(text.lstrip("\ufeff"), name))


def read_mapping(data: Mapping[str, Any]) -> Imported:
    """Settings from kohya_ss's keys, from ours, or from sd-scripts'."""
    flat = flatten(data)
    if SD_SCRIPTS_ONLY & set(flat) and not {"LoRA_type", "max_resolution", "optimizer"} & set(flat):
        return from_sd_scripts(flat)
    return read_kohya(data)


def flatten(data: Mapping[str, Any]) -> dict[str, Any]:
    """sd-scripts' TOML may be divided into sections; their names mean nothing."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat.update(value if isinstance(value, Mapping) else {key: value})
    return flat
