"""The tool "Merge into a model"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from trainer.problems import Problem, block, some_names
from trainer.schema import Form, Schema, Section, Spec
from trainer.tools.forms.merge import check_shares, family_of_lora
from trainer.tools.forms.shared import Loras, StoredPrecision
from trainer.tools.into_checkpoint import changed_files, merge_into
from trainer.tools.lora_files import SavePrecision
from trainer.tools.model_files import family_of_model
from trainer.tools.room import check_room, size_of_folder, size_stored
from trainer.tools.shares import shares
from trainer.tools.tool import Tool, Work

MOST_NAMES = 5


class Files(Section):
    """What is read and written."""

    model: Annotated[str, Spec("Model", "tools", "files", "model", required=True)] = ""
    loras: Loras = ""
    output: Annotated[str, Spec("Save as", "tools", "files", "new_model", required=True)] = ""


class How(Section):
    """How it is stored."""

    precision: Annotated[StoredPrecision, Spec("Save precision", "tools", "how")] = "as it is"


class MergeInto(Form):
    """A model with LoRAs in it."""

    files: Files = Files()
    how: How = How()


def _check(form: MergeInto) -> Iterator[Problem]:
    model, output = Path(form.files.model), Path(form.files.output)
    yield from check_shares(shares(form.files.loras))
    if model.is_file() and output.suffix.lower() != ".safetensors":
        named = output.with_name(f"{output.name}.safetensors")
        yield block("output", "tools.ending_new", {"output": str(named)}, label="Save as")
    family = family_of_model(model, "model")
    for share in shares(form.files.loras):
        if family_of_lora(share.path) not in {None, family.key}:
            yield block("loras", "tools.other_family", name=share.path.name, family=family.title)
    precision = precision_of(form)
    size = (
        size_of_folder(model, changed_files(model), precision)
        if model.is_dir()
        else size_stored(model, precision)
    )
    yield from check_room(MERGE_INTO.schema["output"], output, size)


def precision_of(form: MergeInto) -> SavePrecision | None:
    """None: each tensor's own."""
    return None if form.how.precision == "as it is" else form.how.precision


def _run(form: MergeInto, work: Work) -> Path:
    loras, output = shares(form.files.loras), Path(form.files.output)
    merged = merge_into(Path(form.files.model), loras, output, precision_of(form), work.report)
    work.tell("tools.merged_into", count=merged.changed)
    if merged.left_out:
        names = some_names(merged.left_out, MOST_NAMES)
        work.tell("tools.left_out", "warning", count=len(merged.left_out), names=names)
    return work.saved(output, "model")


MERGE_INTO = Tool(
    "merge_into", "lora", Schema(MergeInto, name="merge_into"), _run, _check, "merged", light=True
)
