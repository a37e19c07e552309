"""Checks of how places are written: web addresses, and variables that nothing replaces here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from trainer.files.paths import PATH_SETTINGS, nearest_existing
from trainer.preflight.places import HUB_SETTINGS
from trainer.problems import Problem, block, hint
from trainer.settings import TRAINING, Settings

WEB = re.compile(r"(?:https?|ftp|s3|gs)://", re.IGNORECASE)
HUB_PAGE = re.compile(r"https?://(?:www\.)?huggingface\.co/([\w.-]+/[\w.-]+?)(?:/tree/\w+)?/?", re.IGNORECASE)
"""The page of a model, not of one of its files."""
PATH_VARIABLE = re.compile(r"\$env:\w+|\$\{?[A-Za-z_]\w*\}?|%[A-Za-z_]\w*%")


def web_addresses(settings: Settings) -> tuple[Problem, ...]:
    """Problems of settings that need a place on this computer: nothing else is to be asked of them."""
    return tuple(_web(key, text) for key in PATH_SETTINGS if WEB.match(text := settings.get(key).strip()))


def _web(key: str, text: str) -> Problem:
    page = HUB_PAGE.fullmatch(text)
    fix = (
        {key: page[1]} if page and key in HUB_SETTINGS else None if TRAINING[key].spec.required else {key: ""}
    )
    return block(key, "preflight.path_web", fix, label=TRAINING[key].spec.label, path=text[:100])


def variables(settings: Settings) -> Iterator[Problem]:
    """Hints for variables in paths, where no such folder is there."""
    for key in PATH_SETTINGS:
        text = settings.get(key)
        variable = PATH_VARIABLE.search(text)
        if variable and variable[0] not in str(nearest_existing(Path(text)) or ""):
            values = {"label": TRAINING[key].spec.label, "path": text[:100], "part": variable[0]}
            yield hint(key, "preflight.path_variable", None, **values)
