"""The tool "Merge LoRAs"."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from trainer.families.lora_family import lora_family
from trainer.families.table import FAMILIES
from trainer.files.safetensors_header import HeaderError, read_header
from trainer.problems import Problem, block, hint, repeated
from trainer.schema import Form, Schema, Section, Spec
from trainer.settings import FamilyKey
from trainer.tools.forms.shared import FilePrecision, Loras, Output
from trainer.tools.lora_files import is_plain, modules_in, require_factors, require_lora
from trainer.tools.merge import Method, Portion, merge
from trainer.tools.room import check_room, is_wide, numbers_at, plain_modules, size_of_lora
from trainer.tools.shares import shares
from trainer.tools.tool import Tool, Work

METHODS: dict[str, Method] = {
    "side by side": "exact", "closest of a rank": "svd", "mixed factors": "factors",
}  # fmt: skip
SVD = ("closest of a rank",)


class Files(Section):
    """What is read and written."""

    loras: Loras = ""
    output: Output = ""


class How(Section):
    """How they become one."""

    method: Annotated[
        Literal["side by side", "closest of a rank", "mixed factors"], Spec("Method", "tools", "how")
    ] = "side by side"
    rank: Annotated[
        int, Field(ge=1, le=4096), Spec("Network Rank (Dimension)", "tools", "how", matters={"method": SVD})
    ] = 32
    conv_rank: Annotated[
        int,
        Field(ge=0, le=4096),
        Spec("Convolution Rank (Dimension)", "tools", "how", matters={"method": SVD}),
    ] = 0
    clamp_quantile: Annotated[
        float, Field(gt=0, le=1), Spec("Clamp quantile", "tools", "how", matters={"method": SVD})
    ] = 0.99
    precision: FilePrecision = "fp16"


class Merge(Form):
    """Several LoRAs as one."""

    files: Files = Files()
    how: How = How()


def _check(form: Merge) -> Iterator[Problem]:
    found = shares(form.files.loras)
    is_mixed = form.how.method == "mixed factors"
    yield from check_shares(found)
    for one in found:
        require_factors(one.path, "loras")
        if is_mixed and not all(map(is_plain, modules_in(one.path, "loras").values())):
            yield block("method", "tools.only_plain", {"method": "side by side"}, name=one.path.name)
    yield from _families(found)
    ranks = {rank for one in found if is_mixed and (rank := _rank(one))}
    if len(ranks) > 1:
        told = [str(rank) for rank in sorted(ranks)]
        yield block("method", "tools.ranks_differ", {"method": "side by side"}, ranks=told)
    size = size_of_lora(_numbers(found, form.how), form.how.precision)
    yield from check_room(MERGE.schema["output"], Path(form.files.output), size)


def _numbers(portions: list[Portion], how: How) -> int:
    """Numbers in the factors of the result, as far as plain modules tell them."""
    total: dict[str, int] = {}
    for portion in portions:
        for name, shapes in plain_modules(portion.path).items():
            wide = how.conv_rank if is_wide(shapes) else 0
            if how.method in SVD:
                total[name] = numbers_at(shapes, wide or how.rank)
            elif how.method == "side by side" or name not in total:
                total[name] = total.get(name, 0) + sum(
                    math.prod(shapes[f"lora_{side}.weight"]) for side in ("up", "down")
                )
    return sum(total.values())


def check_shares(portions: list[Portion]) -> Iterator[Problem]:
    """Files that are no LoRAs, strengths that do nothing, and files that are named twice."""
    for portion in portions:
        require_lora(portion.path, "loras")
        if not portion.strength:
            yield hint("loras", "tools.share_zero", name=portion.path.name)
    for path in repeated(str(portion.path.resolve()) for portion in portions):  # also through links
        yield hint("loras", "tools.share_twice", name=Path(path).name)


def _families(portions: list[Portion]) -> Iterator[Problem]:
    """LoRAs of two families: each alone is right, together they fit no model."""
    first: dict[FamilyKey, str] = {}
    for share in portions:
        if family := family_of_lora(share.path):
            first.setdefault(family, share.path.name)
    if len(first) > 1:
        (family, name), (other_family, other_name), *_ = first.items()
        values: dict[str, Any] = {"name": name, "family": FAMILIES[family].title, "other": other_name}
        values["other_family"] = FAMILIES[other_family].title
        yield block("loras", "tools.loras_of_two_families", **values)


def family_of_lora(path: Path) -> FamilyKey | None:
    """The family that a LoRA file was made for; None where nothing tells it."""
    try:
        header = read_header(path)
    except (HeaderError, OSError):
        return None
    shapes = {name: entry.shape for name, entry in header.entries.items()}
    return lora_family(shapes, header.metadata)


def _rank(share: Portion) -> int:
    """By the header; 0 where it has none, or cannot be read."""
    try:
        entries = read_header(share.path).entries
    except (HeaderError, OSError):
        return 0
    downs = (entry.shape[0] for name, entry in entries.items() if name.endswith("lora_down.weight"))
    return max(downs, default=0)


def _run(form: Merge, work: Work) -> Path:
    how, output = form.how, Path(form.files.output)
    found = shares(form.files.loras)
    method = METHODS[how.method]
    size = None
    if method == "svd":
        from trainer.network.weights import RankLimits

        size = RankLimits(how.rank, how.conv_rank, how.clamp_quantile)
    merge(found, output, method, size, how.precision, work.report)
    work.tell("tools.merged", count=len(found))
    return work.saved(output)


MERGE = Tool("merge", "lora", Schema(Merge, name="merge"), _run, _check, "merged", light=True)
