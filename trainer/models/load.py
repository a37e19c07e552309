"""The base model of the settings, opened: a checkpoint on disk or a name on the hub."""

from __future__ import annotations

from pathlib import Path

from trainer import settings as schema
from trainer.errors import UserError
from trainer.families.detect import facts_of, read_model
from trainer.families.facts import ModelFacts, ModelUnreadableError
from trainer.families.known import source as source_of
from trainer.families.table import named_by
from trainer.families.verdict import verdict
from trainer.models.base import BaseModel
from trainer.models.folder import MODEL_SETTING, model_folder
from trainer.models.opening import ModelSource, Opening
from trainer.models.table import OPENERS
from trainer.models.tensor_file import open_tensor_file


def open_model(opening: Opening) -> BaseModel:
    """The base model of the settings: a one-file checkpoint, a diffusers folder or a hub id.

    Nothing is read yet. Nothing is fetched from the network for a path, nor for a hub id that was fetched
    before. Raises UserError for what a person can mend: no such file, another family than the settings say.
    """
    model = opening.model
    name, setting = source_of(model)
    path = Path(name).expanduser()
    if path.is_file():
        file = open_tensor_file(path, setting)
        # By names and shapes: nothing of gigabytes is read for a verdict.
        source, facts = ModelSource(name, path, file), facts_of(file.shapes, file.metadata)
    else:
        source = ModelSource(name, model_folder(name))
        facts = _folder_facts(source.path)
    # The checks' own verdict, once more: a file may have changed since, and a job may come from a command.
    _refuse(facts, model, source.path.name, setting)
    return OPENERS[named_by(model).key](source, opening)


def _folder_facts(folder: Path) -> ModelFacts:
    try:
        return read_model(folder)
    except ModelUnreadableError as error:
        raise UserError("core.folder_damaged", MODEL_SETTING, path=str(folder), reason=str(error)) from error


def _refuse(facts: ModelFacts, model: schema.Model, name: str, setting: str) -> None:
    """Raises UserError for a model that cannot be trained under these settings: the checks' own verdict."""
    if refusal := verdict(facts, model, name):
        raise UserError(refusal.code, refusal.setting or setting, **refusal.values)
