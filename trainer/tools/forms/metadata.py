"""The tool "Metadata"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from trainer.messages import Message
from trainer.problems import Problem, block, hint
from trainer.schema import Form, Schema, Section, Spec
from trainer.tools.forms.shared import Lora, Output
from trainer.tools.metadata import FIELDS, change_metadata, metadata_of, result, thumbnail_text
from trainer.tools.room import check_room, size_stored
from trainer.tools.tool import Tool, Work

REMOVED = "-"
"""Typed into a field: what the file says there is taken out."""
THUMBNAIL = "thumbnail"
MOST_SHOWN = 300
"""Letters of an entry in the list."""
TEXT_FIELDS = tuple(name for name in FIELDS if name != THUMBNAIL)

# One row per setting reads better here than one argument per line.
# fmt: off


class Files(Section):
    """What is read and written."""

    lora: Lora = ""
    output: Output = ""


class About(Section):
    """What the file says about itself."""

    title: Annotated[str, Spec("Metadata title", "tools", "about")] = ""
    trigger_phrase: Annotated[str, Spec("Trigger words", "tools", "about")] = ""
    author: Annotated[str, Spec("Metadata author", "tools", "about")] = ""
    license: Annotated[str, Spec("Metadata license", "tools", "about")] = ""
    tags: Annotated[str, Spec("Metadata tags", "tools", "about")] = ""
    description: Annotated[str, Spec("Metadata description", "tools", "about", "lines")] = ""
    usage_hint: Annotated[str, Spec("Usage hint", "tools", "about", "lines")] = ""
    thumbnail: Annotated[str, Spec("Thumbnail", "tools", "about", "picture")] = ""
    without_history: Annotated[bool, Spec("Publish without metadata", "tools", "about")] = False


# fmt: on


class Metadata(Form):
    """What a LoRA file says about itself."""

    files: Files = Files()
    about: About = About()


def _check(form: Metadata) -> Iterator[Problem]:
    path, about = Path(form.files.lora), form.about
    if path.suffix.lower() != ".safetensors":
        yield block("lora", "files.not_safetensors", name=path.name)
        return
    told = metadata_of(path)
    known = {name: told[FIELDS[name]] for name in TEXT_FIELDS if told.get(FIELDS[name])}
    if known and not any(getattr(about, name) for name in TEXT_FIELDS):
        shown = "; ".join(f"{name}: {text[:60]}" for name, text in known.items())
        yield hint("lora", "tools.metadata_told", known, told=shown[:400])
    changes = _changes(form, with_picture=False)
    nothing = all(told.get(key, "") == text for key, text in changes.items())
    if nothing and not about.without_history and not about.thumbnail:
        yield hint("title", "tools.metadata_nothing")
    yield from check_room(SCHEMA["output"], Path(form.files.output), size_stored(path))


def _changes(form: Metadata, *, with_picture: bool = True) -> dict[str, str]:
    """Full key -> text; "" takes it out. A blank field changes nothing."""
    texts = {name: getattr(form.about, name).strip() for name in TEXT_FIELDS}
    changes = {FIELDS[name]: "" if text == REMOVED else text for name, text in texts.items() if text}
    if with_picture and form.about.thumbnail:
        changes[FIELDS[THUMBNAIL]] = thumbnail_text(Path(form.about.thumbnail))
    return changes


def _preview(form: Metadata) -> list[Message]:
    """What the copy will say."""
    told = result(
        metadata_of(Path(form.files.lora)), _changes(form), without_history=form.about.without_history
    )
    lines = [
        Message("tools.metadata_line", {"key": key, "text": told[key][:MOST_SHOWN]}) for key in sorted(told)
    ]
    return lines or [Message("tools.metadata_none")]


def _run(form: Metadata, work: Work) -> Path:
    path, output = Path(form.files.lora), Path(form.files.output)
    work.report(0, 1)
    before = metadata_of(path)
    output.parent.mkdir(parents=True, exist_ok=True)
    change_metadata(
        path, output, _changes(form), without_history=form.about.without_history, report=work.report
    )
    after = metadata_of(output)
    gone = [key for key in before if key not in after]
    changed = [key for key, text in after.items() if before.get(key) != text and not key.startswith("sshs_")]
    if changed:
        work.tell("tools.metadata_changed", names=changed)
    if gone:
        work.tell("tools.metadata_gone", count=len(gone), names=gone[:8])
    return work.saved(output)


SCHEMA = Schema(Metadata, name="metadata")
METADATA = Tool("metadata", "lora", SCHEMA, _run, _check, "edited", _preview, light=True)
