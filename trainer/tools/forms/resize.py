"""The tool "Resize"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from trainer.problems import Problem, block
from trainer.schema import Form, Schema, Section, Spec
from trainer.tools.blocks import block_of
from trainer.tools.forms.shared import ConvRank, FilePrecision, Lora, NetworkRank, Output
from trainer.tools.lora_files import require_factors
from trainer.tools.resize import Resized, resize
from trainer.tools.room import check_room, numbers_at, plain_modules, size_of_lora
from trainer.tools.tool import Tool, Work

if TYPE_CHECKING:
    from trainer.network.spectra import RankRule

RANK_RULES: dict[str, RankRule] = {
    "fixed rank": "fixed", "ratio of values": "sv_ratio", "share of the sum": "sv_cumulative",
    "share of the energy": "sv_fro",
}  # fmt: skip
"""How the rank is chosen -> its name in kohya's tool."""
DYNAMIC = ("ratio of values", "share of the sum", "share of the energy")


class Files(Section):
    """What is read and written."""

    lora: Lora = ""
    output: Output = ""


class How(Section):
    """How small it becomes."""

    method: Annotated[
        Literal["fixed rank", "ratio of values", "share of the sum", "share of the energy"],
        Spec("Choose the rank by", "tools", "how"),
    ] = "fixed rank"
    target: Annotated[
        float, Field(gt=0, le=1000), Spec("Target", "tools", "how", matters={"method": DYNAMIC})
    ] = 0.9
    rank: NetworkRank = 8
    conv_rank: ConvRank = 0
    precision: FilePrecision = "fp16"


class Resize(Form):
    """A LoRA at another rank."""

    files: Files = Files()
    how: How = How()


def _check(form: Resize) -> Iterator[Problem]:
    require_factors(Path(form.files.lora), "lora")
    method, target = form.how.method, form.how.target
    if method == "ratio of values" and target <= 1:
        yield block("target", "tools.ratio_small", {"target": 10.0}, target=f"{target:g}")
    if method.startswith("share") and target > 1:
        yield block("target", "tools.share_large", {"target": 0.9}, target=f"{target:g}")
    size = size_of_lora(_numbers(form), form.how.precision)
    yield from check_room(RESIZE.schema["output"], Path(form.files.output), size)


def _numbers(form: Resize) -> int:
    """Numbers in the factors of the result, as far as they are known: where the values choose, of rank 1."""
    how = form.how
    fixed = how.method not in DYNAMIC
    return sum(
        numbers_at(
            shapes, (how.conv_rank if len(shapes["lora_down.weight"]) > 2 else 0) or how.rank if fixed else 1
        )
        for shapes in plain_modules(Path(form.files.lora)).values()
    )


def _run(form: Resize, work: Work) -> Path:
    how, output = form.how, Path(form.files.output)
    rule = RANK_RULES[how.method]
    resized = resize(
        Path(form.files.lora), output, how.rank, how.conv_rank, rule, how.target, how.precision, work.report
    )
    for name, modules in _by_block(resized).items():
        kept = sum(module.kept for module in modules) / len(modules)
        work.tell("tools.resized", block=name, old=_range(module.old_rank for module in modules),
                  rank=_range(module.rank for module in modules), lost=f"{1 - kept:.1%}")  # fmt: skip
    return work.saved(output)


def _by_block(resized: Sequence[Resized]) -> dict[str, list[Resized]]:
    blocks: dict[str, list[Resized]] = {}
    for module in resized:
        blocks.setdefault(block_of(module.module), []).append(module)
    return blocks


def _range(ranks: Iterator[int]) -> str:
    """ "8", or "4-32" where they differ; a type without factors has none."""
    values = sorted(set(ranks))
    return str(values[0] or "-") if len(values) == 1 else f"{values[0]}-{values[-1]}"


RESIZE = Tool("resize", "lora", Schema(Resize, name="resize"), _run, _check, "resized", light=True)
