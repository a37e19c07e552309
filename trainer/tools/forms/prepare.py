"""The tool "Prepare folders"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from trainer.messages import Message
from trainer.problems import Problem, hint
from trainer.schema import SET, Form, Schema, Section, Spec
from trainer.tools.prepare import (
    CopyMode,
    CopyOptions,
    Format,
    Preparation,
    TrainingFolder,
    carry_out,
    preparation_of,
    training_folder_name,
)
from trainer.tools.tool import Tool, Work

MOST_LISTED = 2000

# One row per setting reads better here than one argument per line.
# fmt: off


class Pictures(Section):
    """What is learned."""

    pictures: Annotated[str, Spec("Training images", "tools", "pictures", "folder", required=True)] = ""
    repeats: Annotated[int, Field(ge=1, le=10000), Spec("Repeats", "tools", "pictures")] = 10
    instance_prompt: Annotated[str, Spec("Instance prompt", "tools", "pictures", required=True)] = ""
    class_prompt: Annotated[str, Spec("Class prompt", "tools", "pictures")] = ""
    output: Annotated[
        str, Spec("Destination training directory", "tools", "pictures", "new_folder", required=True)
    ] = ""


class RegularisationFolder(Section):
    """What the class looks like without it."""

    reg_pictures: Annotated[str, Spec("Regularisation images", "tools", "reg", "folder")] = ""
    reg_repeats: Annotated[
        int,
        Field(ge=1, le=10000),
        Spec("Regularisation repeats", "tools", "reg", matters={"reg_pictures": (SET,)}),
    ] = 1


class Copies(Section):
    """How files get there."""

    how: Annotated[CopyMode, Spec("Files", "tools", "copies")] = "copy"
    longest_side: Annotated[int, Field(ge=0, le=16384), Spec("Longest side", "tools", "copies")] = 0
    format: Annotated[Format, Spec("Picture format", "tools", "copies")] = "as it is"


# fmt: on


class Prepare(Form):
    """Pictures into the folder layout that training reads."""

    learned: Pictures = Pictures()
    reg: RegularisationFolder = RegularisationFolder()
    copies: Copies = Copies()


def preparation(form: Prepare) -> Preparation:
    """Everything that would be made. Raises UserError."""
    learned, reg, copies = form.learned, form.reg, form.copies
    name = training_folder_name(learned.repeats, learned.instance_prompt, learned.class_prompt)
    sources = [TrainingFolder(Path(learned.pictures), name)]
    if reg.reg_pictures:
        words = learned.class_prompt or learned.instance_prompt
        sources.append(
            TrainingFolder(Path(reg.reg_pictures), training_folder_name(reg.reg_repeats, words), "reg")
        )
    return preparation_of(
        Path(learned.output), sources, CopyOptions(copies.how, copies.longest_side, copies.format)
    )


def _check(form: Prepare) -> Iterator[Problem]:
    made = preparation(form)
    if form.reg.reg_pictures and not form.learned.class_prompt.strip():
        yield hint("class_prompt", "tools.prepare_no_class")
    if not made.steps:
        yield hint("output", "tools.prepare_all_there")


def _preview(form: Prepare) -> list[Message]:
    made = preparation(form)
    size = f"{made.size / 1e6:,.1f} MB"
    lines = [Message("tools.prepare_sum", {"pictures": made.pictures, "size": size, "path": str(made.root)})]
    lines += [Message("tools.prepare_folder", {"path": str(path)}) for path in made.folders]
    for step in made.steps[:MOST_LISTED]:
        kind = "drawn" if step.drawn else made.options.how
        names = {"source": str(step.source), "target": str(step.target)}
        lines.append(Message(f"tools.prepare_{kind}", names))
    return lines + list(_left_out(made))


def _left_out(made: Preparation) -> Iterator[Message]:
    for path, why in made.left_out[:MOST_LISTED]:
        code = "tools.prepare_there" if why == "there" else "tools.prepare_unreadable"
        yield Message(code, {"path": str(path)})


def _run(form: Prepare, work: Work) -> Path:
    made = preparation(form)
    pictures = carry_out(made, work.report)
    work.tell("tools.prepared", pictures=pictures, path=str(made.root))
    for message in _left_out(made):
        work.tell(message.code, "warning", **message.values)
    return work.saved(made.root, "folder")


PREPARE = Tool(
    "prepare", "pictures", Schema(Prepare, name="prepare"), _run, _check, "training", _preview, light=True
)  # fmt: skip
