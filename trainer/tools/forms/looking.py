"""What the tools that look at pictures share: which folder, which model, what becomes of captions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from trainer.data.captions import extension as caption_ending
from trainer.errors import UserError
from trainer.families.known import is_hub_id
from trainer.problems import Problem, block, from_error, hint
from trainer.schema import Section, Spec
from trainer.tools.hub_models import Use, about, fetch, here, is_whole
from trainer.tools.picture_walk import pictures_below
from trainer.tools.proposals import (
    Existing,
    Selection,
    closed_folder,
    is_caption_ending,
    read_proposals,
    write_proposals,
)
from trainer.tools.tool import Work

# fmt: off
FolderOfPictures = Annotated[str, Spec("Picture folder", "tools", "pictures", "folder", required=True)]


class CaptionFiles(Section):
    """What becomes of what was found."""

    prefix: Annotated[str, Spec("Trigger word", "tools", "captions")] = ""
    existing: Annotated[Existing, Spec("Existing captions", "tools", "captions")] = "keep"
    extension: Annotated[
        str, Spec("Caption Extension", "tools", "captions", suggestions=(".txt", ".caption")),
    ] = ".txt"
    write: Annotated[bool, Spec("Write without looking", "tools", "captions")] = False

    def wish(self, folder: str) -> Selection:
        """The pictures of a folder that get captions."""
        return Selection(Path(folder), self.extension, self.existing, self.prefix)


# fmt: on


def check_pictures(folder: str, captions: CaptionFiles) -> Iterator[Problem]:
    """Whether there are pictures, and captions may be written beside them."""
    below = pictures_below(Path(folder))
    if not below.entries:
        code = "tools.pictures_of_other_kinds" if below.kinds else "tools.prepare_no_pictures"
        yield block("folder", code, path=folder, kinds=below.kinds)
    elif below.kinds:
        yield hint("folder", "preflight.left_kinds", label="Picture folder", kinds=below.kinds)
    if place := closed_folder(below.paths):
        told = block if captions.write else hint
        yield told("folder", "tools.captions_closed", path=str(place)[:300])
    if not is_caption_ending(captions.extension):
        ending = caption_ending(captions.extension)[:40]
        yield block("extension", "tools.no_caption_ending", {"extension": ".txt"}, ending=ending)


def check_model(name: str, download: str, use: Use) -> Iterator[Problem]:
    """Whether there is a model; one of the hub is fetched only after a yes."""
    place = Path(name)
    if place.exists():
        if not is_whole(place, use):
            fix = {"model": str(place.parent)} if is_whole(place.parent, use) else None
            yield block("model", f"tools.not_for_{use}", fix, name=place.name)
    elif not is_hub_id(name):
        yield block("model", "tools.missing", label="Tagger" if use == "tag" else "Caption model", path=name)
    elif not here(name, use) and download != name:
        yield _to_fetch(name, use)


def _to_fetch(name: str, use: Use) -> Problem:
    try:
        model = about(name, use)
    except UserError as error:
        return from_error(error)
    size = f"{model.size / 1e6:,.0f} MB"
    fix = {"download": name}
    if not model.license:
        return block("model", "tools.fetch_without_license", fix, name=name, size=size)
    return block("model", "tools.fetch", fix, name=name, size=size, license=model.license)


def fetched_folder(name: str, use: Use, work: Work) -> Path:
    """Where the model lies; fetched first where the person said yes."""
    return Path(name) if Path(name).exists() else here(name, use) or fetch(about(name, use), work)


def finished(wish: Selection, work: Work, counts: tuple[int, int], *, write: bool) -> Path:
    """Say what was proposed, and write it where that was asked for."""
    proposed, left_out = counts
    work.tell("tools.proposed", count=proposed)
    if left_out:
        work.tell("tools.captions_kept", count=left_out)
    if write:
        work.tell("tools.captions_written", count=write_all(work.folder, wish.ending))
    return wish.folder


def write_all(folder: Path, ending: str) -> int:
    """Write all that a job has proposed; returns how many captions are new or changed."""
    return write_proposals(read_proposals(folder), ending)
