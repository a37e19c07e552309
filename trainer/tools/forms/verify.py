"""The tool "Verify"."""

from __future__ import annotations

from pathlib import Path

from trainer.schema import Form, Schema, Section
from trainer.tools.forms.shared import Lora
from trainer.tools.tool import Tool, Work
from trainer.tools.verify import verify


class File(Section):
    """What is looked at."""

    lora: Lora = ""


class Verify(Form):
    """A LoRA file to be looked at."""

    file: File = File()


def _run(form: Verify, work: Work) -> None:
    findings = verify(Path(form.file.lora), work.report)
    for finding in findings:
        work.tell(finding.code, "error" if finding.level == "error" else "warning", **finding.values)
    if not findings:
        work.tell("tools.verify_sound")


VERIFY = Tool("verify", "lora", Schema(Verify, name="verify"), _run, light=True)
