"""The tool "Verify"."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trainer.problems import Problem
from trainer.schema import Form, Schema, Section
from trainer.tools.forms.shared import Lora
from trainer.tools.lora_files import modules_in
from trainer.tools.tool import Tool, Work
from trainer.tools.verify import verify


class File(Section):
    """What is looked at."""

    lora: Lora = ""


class Verify(Form):
    """A LoRA file to be looked at."""

    file: File = File()


def _check(form: Verify) -> Iterable[Problem]:
    modules_in(Path(form.file.lora), "lora")  # what is torn in it, the tool itself tells
    return ()


def _run(form: Verify, work: Work) -> None:
    findings = verify(Path(form.file.lora), work.report)
    for finding in findings:
        work.tell(finding.code, "error" if finding.level == "error" else "warning", **finding.values)
    if not findings:
        work.tell("tools.verify_sound")


VERIFY = Tool("verify", "lora", Schema(Verify, name="verify"), _run, _check, light=True)
