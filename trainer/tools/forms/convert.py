"""The tool "Convert"."""

from __future__ import annotations

from pathlib import Path

from trainer.schema import Form, Schema, Section
from trainer.tools.convert import convert
from trainer.tools.forms.shared import Lora, Output
from trainer.tools.tool import Tool, Work


class Files(Section):
    """What is read and written."""

    lora: Lora = ""
    output: Output = ""


class Convert(Form):
    """A LoRA file in the other naming."""

    files: Files = Files()


def _run(form: Convert, work: Work) -> Path:
    output = Path(form.files.output)
    naming = convert(Path(form.files.lora), output, work.report)
    work.tell(f"tools.converted_{naming}")
    return work.saved(output)


CONVERT = Tool("convert", "lora", Schema(Convert, name="convert"), _run, suffix="converted", light=True)
