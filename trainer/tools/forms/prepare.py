"""The tool "Prepare folders"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from trainer.messages import Message
from trainer.problems import Problem, hint, some_names
from trainer.schema import SET, Form, Schema, Section, Spec
from trainer.tools.picture_copies import CopyMode, CopyOptions, Format
from trainer.tools.places import cannot_write
from trainer.tools.prepare import (
    Preparation,
    TrainingFolder,
    carry_out,
    preparation_of,
    training_folder_name,
)
from trainer.tools.room import check_room
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
    words = {"instance_prompt": learned.instance_prompt, "class_prompt": learned.class_prompt}
    name = training_folder_name(learned.repeats, **words)
    sources = [TrainingFolder(Path(learned.pictures), name)]
    if reg.reg_pictures:
        key = "class_prompt" if learned.class_prompt.strip() else "instance_prompt"
        of_class = training_folder_name(reg.reg_repeats, **{key: words[key]})
        sources.append(TrainingFolder(Path(reg.reg_pictures), of_class, "reg"))
    return preparation_of(
        Path(learned.output), sources, CopyOptions(copies.how, copies.longest_side, copies.format)
    )


def _check(form: Prepare) -> Iterator[Problem]:
    learned, reg = form.learned, form.reg.reg_pictures
    if reg and Path(reg).samefile(learned.pictures):
        yield hint("reg_pictures", "tools.prepare_reg_same", {"reg_pictures": ""})
    listed = preparation(form)
    if reg and not learned.class_prompt.strip():
        yield hint("class_prompt", "tools.prepare_no_class")
    yield from _looked_over(listed, {Path(reg): "reg_pictures"} if reg else {})
    for folder in listed.changed_folders:
        if problem := cannot_write(PREPARE.schema["output"], folder):
            yield problem
            return
    yield from check_room(PREPARE.schema["output"], listed.root, listed.known_size)
    taken = [path.name for path, reason in listed.left_out if reason == "taken"]
    if taken:
        names = some_names(taken)
        yield hint("output", "tools.prepare_taken_names", count=f"{len(taken):,}", names=names)
    elif not listed.steps:
        yield hint("output", "tools.prepare_all_there")


def _looked_over(listed: Preparation, reg: Mapping[Path, str]) -> Iterator[Problem]:
    """What of the pictures is not learned; `reg`: the folder of regularisation pictures -> its setting."""
    for folder, kinds in listed.not_read:
        key = reg.get(folder, "pictures")
        yield hint(key, "preflight.left_kinds", label=PREPARE.schema[key].spec.label, kinds=kinds)
    of_setting: dict[str, list[str]] = {}
    for path in listed.animations:
        key = next((key for folder, key in reg.items() if folder in path.parents), "pictures")
        of_setting.setdefault(key, []).append(path.name)
    for key, names in of_setting.items():
        values: dict[str, Any] = {"label": PREPARE.schema[key].spec.label, "count": f"{len(names):,}"}
        yield hint(key, "tools.prepare_animations", names=some_names(names), **values)


def _preview(form: Prepare) -> list[Message]:
    listed = preparation(form)
    size = f"{listed.size / 1e6:,.1f} MB"
    sums = {"pictures": listed.pictures, "size": size, "path": str(listed.root)}
    lines = [Message("tools.prepare_sum", sums)]
    lines += [Message("tools.prepare_folder", {"path": str(path)}) for path in listed.folders]
    for step in listed.steps[:MOST_LISTED]:
        kind = "drawn" if step.drawn else listed.options.how
        names = {"source": str(step.source), "target": str(step.target)}
        lines.append(Message(f"tools.prepare_{kind}", names))
    lines += [Message("tools.prepare_there", {"path": str(path)}) for path in listed.there[:MOST_LISTED]]
    return lines + list(_left_out(listed))


def _left_out(listed: Preparation) -> Iterator[Message]:
    for folder, kinds in listed.not_read:
        yield Message("tools.prepare_kinds", {"path": str(folder), "kinds": kinds})
    for path in listed.animations[:MOST_LISTED]:
        yield Message("tools.prepare_animation", {"path": str(path)})
    for path, reason in listed.left_out[:MOST_LISTED]:
        code = "tools.prepare_taken" if reason == "taken" else "tools.prepare_unreadable"
        yield Message(code, {"path": str(path)})


def _run(form: Prepare, work: Work) -> Path:
    listed = preparation(form)
    damaged = carry_out(listed, work.report)
    in_place = listed.pictures - len(damaged) + len(listed.there)
    work.tell("tools.prepared", pictures=in_place, path=str(listed.root))
    if listed.there:
        work.tell("tools.prepared_before", count=len(listed.there))
    for message in _left_out(listed):
        work.tell(message.code, "warning", **message.values)
    for path in damaged[:MOST_LISTED]:
        work.tell("tools.prepare_unreadable", "warning", path=str(path))
    return work.saved(listed.root, "folder")


PREPARE = Tool(
    "prepare", "pictures", Schema(Prepare, name="prepare"), _run, _check, "training", _preview, light=True
)  # fmt: skip
