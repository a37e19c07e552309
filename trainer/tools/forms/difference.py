"""The tool "Extract from two models"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from trainer.problems import Problem, block
from trainer.schema import Form, Schema, Section, Spec
from trainer.tools.difference import ExtractOptions, common_family, extract_difference
from trainer.tools.forms.shared import ConvRank, FilePrecision, NetworkRank, Output
from trainer.tools.model_files import family_of_model
from trainer.tools.tool import Tool, Work


class Files(Section):
    """What is read and written."""

    tuned: Annotated[str, Spec("Tuned model", "tools", "files", "model", required=True)] = ""
    base: Annotated[str, Spec("Original model", "tools", "files", "model", required=True)] = ""
    output: Output = ""


class How(Section):
    """How the difference is taken apart."""

    rank: NetworkRank = 32
    conv_rank: ConvRank = 0
    clamp_quantile: Annotated[float, Field(gt=0, le=1), Spec("Clamp quantile", "tools", "how")] = 0.99
    least: Annotated[float, Field(ge=0, le=1), Spec("Minimum difference", "tools", "how")] = 0.01
    precision: FilePrecision = "fp16"


class Extract(Form):
    """What one model has learned beyond another, as a LoRA."""

    files: Files = Files()
    how: How = How()


def _check(form: Extract) -> Iterator[Problem]:
    base, tuned = Path(form.files.base), Path(form.files.tuned)
    for key, path in (("base", base), ("tuned", tuned)):
        if path.is_dir():
            yield block(key, "tools.one_file", name=path.name)
            return
        family_of_model(path, key)
    common_family(base, tuned)
    if base.samefile(tuned):
        yield block("tuned", "tools.same_model")


def _run(form: Extract, work: Work) -> Path:
    how, files = form.how, form.files
    options = ExtractOptions(how.rank, how.conv_rank, how.clamp_quantile, how.least)
    path = extract_difference(
        Path(files.base), Path(files.tuned), Path(files.output), options, how.precision, work.report
    )
    return work.saved(path)


EXTRACT = Tool("extract", "lora", Schema(Extract, name="extract"), _run, _check, "lora")
