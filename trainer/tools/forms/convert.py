"""The tool "Convert"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trainer.files.safetensors_header import require_header
from trainer.problems import Problem
from trainer.schema import Form, Schema, Section
from trainer.tools.convert import convert, naming_of, require_writable
from trainer.tools.forms.shared import Lora, Output
from trainer.tools.lora_files import modules_in
from trainer.tools.room import check_room, size_stored
from trainer.tools.tool import Tool, Work


class Files(Section):
    """What is read and written."""

    lora: Lora = ""
    output: Output = ""


class Convert(Form):
    """A LoRA file in the other naming."""

    files: Files = Files()


def _check(form: Convert) -> Iterator[Problem]:
    path = Path(form.files.lora)
    if path.suffix.lower() != ".safetensors":  # a pickle is opened only to convert it
        return
    if naming_of(require_header(path, "lora").entries, path) == "kohya":
        for module, shapes in modules_in(path, "lora").items():
            require_writable(module, shapes, path)
    yield from check_room(CONVERT.schema["output"], Path(form.files.output), size_stored(path))


def _run(form: Convert, work: Work) -> Path:
    output = Path(form.files.output)
    naming = convert(Path(form.files.lora), output, work.report)
    work.tell(f"tools.converted_{naming}")
    return work.saved(output)


CONVERT = Tool("convert", "lora", Schema(Convert, name="convert"), _run, _check, "converted", light=True)
