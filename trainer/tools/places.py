"""Where a tool reads and writes, by its form; with --listen all of it lies in the allowed folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.files.hub import REPO
from trainer.files.paths import can_exist, clean_path, is_writable, nearest_existing
from trainer.files.roots import Roots
from trainer.preflight.places import leads_out, links_out
from trainer.problems import Problem, block
from trainer.schema import Form, Schema, Setting
from trainer.tools.picture_walk import DEEPEST_FOLDER
from trainer.tools.shares import shares

READ = ("model", "file", "folder", "lora", "picture")
NEW = ("new_file", "new_model", "new_folder")


@dataclass(frozen=True)
class FormPath:
    """A path in a form."""

    setting: Setting
    path: Path

    @property
    def is_new(self) -> bool:
        """Whether the tool writes it."""
        return self.setting.spec.widget in NEW


def form_with_clean_paths(form: Form, schema: Schema[Any]) -> Form:
    """The form with every path as it is meant, without quotes, blanks and "~"."""
    texts = {key: form.get(key) for key, setting in schema.items() if setting.spec.widget in (*READ, *NEW)}
    changed = {key: clean_path(text) for key, text in texts.items() if clean_path(text) != text}
    return form.replace(**changed) if changed else form


def places(form: Form, schema: Schema[Any]) -> Iterator[FormPath]:
    """Every path in a form; names of the hub are none."""
    for key, setting in schema.items():
        text = str(form.get(key) or "")
        if setting.spec.widget == "shares":
            yield from (FormPath(setting, share.path) for share in _shares(text))
        elif text and setting.spec.widget in (*READ, *NEW) and not is_hub_name(setting, text):
            yield FormPath(setting, Path(text))


def _shares(text: str) -> list[Any]:
    try:
        return list(shares(text))
    except UserError:  # told by another check
        return []


def is_hub_name(setting: Setting, text: str) -> bool:
    """Whether a model is looked up on the hub: where the form offers such names and nothing of it is here."""
    offered = setting.spec.widget == "model" and bool(setting.spec.suggestions)
    return offered and bool(REPO.fullmatch(text)) and can_exist(text) and not Path(text).exists()


def cannot_write(setting: Setting, folder: Path) -> Problem | None:
    """What keeps files from being made in a folder, which may not be there yet; None: nothing."""
    there, label = nearest_existing(folder), setting.spec.label
    if there is None or not there.is_dir():
        return block(setting.key, "tools.no_place", label=label, path=str(folder)[:300])
    if not is_writable(there):
        return block(setting.key, "tools.closed_place", label=label, path=str(there)[:300])
    return None


def outside(form: Form, schema: Schema[Any], roots: Roots | None) -> list[Problem]:
    """What leads out of the folders that may be used; [] where all may be."""
    if roots is None or not roots.strict:
        return []
    problems = []
    for place in places(form, schema):
        label = place.setting.spec.label
        values: dict[str, Any] = {"label": label, "folders": roots.names()}
        if leads_out(place.path, roots):
            problems.append(
                block(place.setting.key, "preflight.outside", path=str(place.path)[:300], **values)
            )
            continue
        problems += [
            block(place.setting.key, "preflight.outside_link", path=str(link)[:300], **values)
            for link in links_out(place.path, DEEPEST_FOLDER + 1, roots)
        ]
    return problems
