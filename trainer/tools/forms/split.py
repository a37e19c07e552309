"""The tool "Split DyLoRA"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from trainer.problems import Problem, from_error
from trainer.schema import Form, Schema, Section, Spec
from trainer.tools.extract import extract, ranks_in, refused
from trainer.tools.forms.shared import Lora, Output
from trainer.tools.room import check_room, size_stored
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
    ranks = ranks_in(path)
    if rank not in ranks.smaller:
        nearest = min(ranks.smaller, key=lambda smaller: abs(smaller - rank), default=None)
        yield from_error(refused(ranks, rank, path), {"rank": nearest} if nearest else None)
    size = size_stored(path) * rank // ranks.full
    yield from check_room(SPLIT.schema["output"], Path(form.files.output), size)


def _run(form: Split, work: Work) -> Path:
    output = Path(form.files.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    return work.saved(extract(Path(form.files.lora), form.how.rank, output, work.report))


SPLIT = Tool("split", "lora", Schema(Split, name="split"), _run, _check, "split", light=True)
