"""The tool "Split DyLoRA"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from trainer.errors import UserError
from trainer.problems import Problem, block
from trainer.schema import Form, Schema, Section, Spec
from trainer.tools.extract import extract, ranks_in
from trainer.tools.forms.shared import Lora, Output
from trainer.tools.tool import Tool, Work


class Files(Section):
    """What is read and written."""

    lora: Lora = ""
    output: Output = ""


class How(Section):
    """How small it becomes."""

    rank: Annotated[int, Field(ge=1, le=4096), Spec("Network Rank (Dimension)", "tools", "how")] = 4


class Split(Form):
    """A smaller LoRA out of a DyLoRA."""

    files: Files = Files()
    how: How = How()


def _check(form: Split) -> Iterator[Problem]:
    path, rank = Path(form.files.lora), form.how.rank
    try:
        ranks = ranks_in(path)
    except UserError as error:
        yield block("lora", error.message.code, **error.message.values)
        return
    if rank not in ranks.smaller:
        nearest = min(ranks.smaller, key=lambda smaller: abs(smaller - rank), default=None)
        choices = [str(smaller) for smaller in ranks.smaller] or "–"
        values = {"name": path.name, "rank": rank, "full": ranks.full, "choices": choices}
        yield block("rank", "files.extract_rank", {"rank": nearest} if nearest else None, **values)


def _run(form: Split, work: Work) -> Path:
    output = Path(form.files.output)
    work.report(0, 1)
    output.parent.mkdir(parents=True, exist_ok=True)
    return work.saved(extract(Path(form.files.lora), form.how.rank, output))


SPLIT = Tool("split", "lora", Schema(Split, name="split"), _run, _check, "split", light=True)
