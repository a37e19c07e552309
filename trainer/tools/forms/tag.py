"""The tool "Tag"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from trainer.problems import Problem
from trainer.schema import Form, Schema, Section, Spec
from trainer.tools.forms.looking import (
    CaptionFiles,
    FolderOfPictures,
    check_model,
    check_pictures,
    fetched_folder,
    finished,
)
from trainer.tools.proposals import propose
from trainer.tools.tag import Choice, Tagger, comparable, taken_tags
from trainer.tools.tool import Tool, Work

TAGGERS = (
    "SmilingWolf/wd-vit-tagger-v3", "SmilingWolf/wd-swinv2-tagger-v3", "SmilingWolf/wd-eva02-large-tagger-v3",
)  # fmt: skip
Threshold = Annotated[float, Field(gt=0, le=1)]

# One row per setting reads better here than one argument per line.
# fmt: off


class Pictures(Section):
    """What is looked at, and by which model."""

    folder: FolderOfPictures = ""
    model: Annotated[
        str, Spec("Tagger", "tools", "pictures", "model", required=True, suggestions=TAGGERS)
    ] = TAGGERS[0]
    download: Annotated[str, Spec("Download", "tools", "pictures", "hidden")] = ""


class Tags(Section):
    """Which tags are taken."""

    general_threshold: Annotated[Threshold, Spec("General threshold", "tools", "tags")] = 0.35
    character_threshold: Annotated[Threshold, Spec("Character threshold", "tools", "tags")] = 0.85
    remove_underscore: Annotated[bool, Spec("Replace underscores with spaces", "tools", "tags")] = True
    ratings: Annotated[bool, Spec("Rating tag", "tools", "tags")] = False
    undesired_tags: Annotated[str, Spec("Undesired tags", "tools", "tags", "lines")] = ""
    only_tags: Annotated[str, Spec("Only these tags", "tools", "tags", "lines")] = ""


# fmt: on


class Tag(Form):
    """Pictures to be tagged."""

    pictures: Pictures = Pictures()
    tags: Tags = Tags()
    captions: CaptionFiles = CaptionFiles()


def _check(form: Tag) -> Iterator[Problem]:
    yield from check_pictures(form.pictures.folder, form.captions)
    yield from check_model(form.pictures.model, form.pictures.download, "tag")


def _names(text: str) -> frozenset[str]:
    parts = re.split(r"[,\n，、]", text)
    return frozenset(comparable(part) for part in parts if part.strip())


def _run(form: Tag, work: Work) -> Path:
    tags, captions = form.tags, form.captions
    tagger = Tagger(fetched_folder(form.pictures.model, "tag", work))
    choice = Choice(
        tags.general_threshold, tags.character_threshold, tags.remove_underscore, tags.ratings,
        _names(tags.undesired_tags), _names(tags.only_tags),
    )  # fmt: skip
    wish = captions.wish(form.pictures.folder)
    counts = propose(wish, work, lambda picture: taken_tags(tagger.tags, tagger.scores(picture), choice))
    return finished(wish, work, counts, write=captions.write)


TAG = Tool("tag", "pictures", Schema(Tag, name="tag"), _run, _check, resumes=True, proposes=True)
