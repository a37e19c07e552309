"""The tool "Caption"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from trainer.problems import Problem
from trainer.schema import Form, Schema, Section, Spec
from trainer.tools.caption import Captioner
from trainer.tools.forms.looking import (
    CaptionFiles,
    FolderOfPictures,
    check_model,
    check_pictures,
    fetched_folder,
    finished,
)
from trainer.tools.proposals import propose
from trainer.tools.tool import Tool, Work

CAPTIONERS = (
    "Salesforce/blip-image-captioning-base", "Salesforce/blip-image-captioning-large",
    "florence-community/Florence-2-base", "florence-community/Florence-2-large",
)  # fmt: skip

# One row per setting reads better here than one argument per line.
# fmt: off


class Pictures(Section):
    """What is looked at, and by which model."""

    folder: FolderOfPictures = ""
    model: Annotated[
        str, Spec("Caption model", "tools", "pictures", "model", required=True, suggestions=CAPTIONERS)
    ] = CAPTIONERS[0]
    download: Annotated[str, Spec("Download", "tools", "pictures", "hidden")] = ""


class Sentences(Section):
    """What it is asked."""

    prompt: Annotated[str, Spec("Question or beginning", "tools", "sentences")] = ""
    max_tokens: Annotated[int, Field(ge=5, le=500), Spec("Max length", "tools", "sentences")] = 60


# fmt: on


class Caption(Form):
    """Pictures to be described."""

    pictures: Pictures = Pictures()
    sentences: Sentences = Sentences()
    captions: CaptionFiles = CaptionFiles()


def _check(form: Caption) -> Iterator[Problem]:
    yield from check_pictures(form.pictures.folder, form.captions)
    yield from check_model(form.pictures.model, form.pictures.download, "caption")


def _run(form: Caption, work: Work) -> Path:
    captions, asked = form.captions, form.sentences
    captioner = Captioner(fetched_folder(form.pictures.model, "caption", work))
    wish = captions.wish(form.pictures.folder)
    counts = propose(
        wish, work, lambda picture: [captioner.describe(picture, asked.prompt, asked.max_tokens)]
    )
    return finished(wish, work, counts, write=captions.write)


CAPTION = Tool(
    "caption", "pictures", Schema(Caption, name="caption"), _run, _check, resumes=True, proposes=True
)
