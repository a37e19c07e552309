"""Questions about the pictures of a run, and about files and folders: the dataset room, choosing, uploads."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

from app.answers.question import Answer, Request, question, sent
from app.dataset import browse, captions, folder_values, tags, upload
from app.dataset.room import Room, as_json, open_room, settings_for_pictures
from app.dataset.study import Study, told_of
from app.jobs.store import JobStore
from app.paths import Roots
from app.pictures import KEPT_VIEWS, SIDES, Thumbs, forget_oldest
from app.texts import language_of
from trainer.errors import UserError

MOST_TOLD = 20_000
"""Captions that are counted or changed at one question."""


class RoomAnswers:
    """Questions about pictures and files, answered for one workspace."""

    def __init__(self, store: JobStore, roots: Roots) -> None:
        self.roots = roots
        self.workspace = Path(store.workspace)
        self.thumbs = Thumbs(roots, self.workspace / KEPT_VIEWS)
        self.copies = self.workspace / "captions"
        self._study: Study | None = None
        self._lock = Lock()

    @question
    def room(self, request: Request) -> Answer:
        """All pictures of the form's folders, and a study of them that begins when its news are asked for."""
        room = self._room(request)
        study = Study(room, lambda path, stamp: self.thumbs.made(path, stamp, SIDES[1]))
        with self._lock:
            before, self._study = self._study, study
        if before:
            before.stop()
        return {"room": as_json(room), "study": id(study), "copies": self._copies(room)}

    @question
    def room_news(self, request: Request) -> Answer:
        """What the study has found out since: {"study", "captions": known already, "seen": its `done`}."""
        study = self._study
        if study is None or id(study) != request.get("study"):
            return {"gone": True}
        study.start()
        seen = request.get("seen")
        return study.news(bool(request.get("captions")), seen if isinstance(seen, int) else -1)

    @question
    def room_leave(self, request: Request) -> Answer:
        """The room was closed."""
        study = self._study
        if study is not None and id(study) == request.get("study"):
            study.stop()
            forget_oldest(self.workspace / KEPT_VIEWS)
        return {}

    @question
    def room_tell(self, request: Request) -> Answer:
        """Tokens, and what is cut off, of captions that are being changed: {"captions", "limit"}."""
        limit = request.get("limit")
        limit = limit if isinstance(limit, int) and limit > 0 else 75
        return {"told": [told_of(text, limit) for text in _texts(request)]}

    @question
    def room_edit(self, request: Request) -> Answer:
        """Captions after one change of all: {"captions", "wish", "separator"}; nothing is written."""
        wish, separator = sent(request, "wish"), str(request.get("separator") or ",")
        return {"captions": [tags.edited(text, wish, separator) for text in _texts(request)]}

    @question
    def room_others(self, request: Request) -> Answer:
        """Captions in files of another ending, by picture: {"values", "ending"}."""
        return {"captions": captions.others(self._room(request), str(request.get("ending")), self.roots)}

    @question
    def room_write(self, request: Request) -> Answer:
        """Write captions: {"values", "changes": [{"path", "before", "after"}]}."""
        room = self._room(request)
        wishes = [wish for wish in _list(request.get("changes")) if isinstance(wish, dict)]
        done = captions.write_captions(
            captions.planned(room.by_path, wishes, self.roots), self.copies, room.name
        )
        return {**done, "copies": self._copies(room)}

    @question
    def room_restore(self, request: Request) -> Answer:
        """Bring back what stood in the files before a write: {"values", "copy"}."""
        room = self._room(request)
        changes = captions.changes_of_copy(str(request.get("copy") or ""), self.copies, self.roots)
        return {**captions.write_captions(changes, self.copies, room.name), "copies": self._copies(room)}

    @question
    def room_folder(self, request: Request) -> Answer:
        """Other repeats or class words of a folder: {"values", "folder", "repeats", "words"}."""
        room = self._room(request)
        config = str(settings_for_pictures(sent(request, "values"), self.roots).folders.dataset_config)
        wanted = (str(request.get("folder")), request.get("repeats"), request.get("words"))
        path = folder_values.changed_dataset(room, *wanted, config, self.workspace / "configs")
        return {"changes": {"dataset_config": str(path)}}

    @question
    def browse(self, request: Request) -> Answer:
        """What lies in a folder: {"path", "kind", "first": it is what the field holds}."""
        path, kind = (str(request.get(key) or "") for key in ("path", "kind"))
        return browse.folder_listing(path, kind, self.roots, first=bool(request.get("first")))

    @question
    def browse_tell(self, request: Request) -> Answer:
        """What some of it is: {"path", "names"}."""
        names = [str(name) for name in _list(request.get("names"))[:50]]
        return browse.told_of_entries(
            str(request.get("path")), names, self.roots, language_of(request.get("lang"))
        )

    @question
    def upload_folder(self, request: Request) -> Answer:
        """Make a folder for pictures of another device: {"name", "repeats", "words"}."""
        name, words = (str(request.get(key) or "") for key in ("name", "words"))
        folder = upload.new_folder(self.workspace / "datasets", name, request.get("repeats"), words)
        return {"folder": str(folder), "parent": str(folder.parent)}

    @question
    def upload(self, request: Request) -> Answer:
        """A piece of a file: {"folder", "name", "start", "size", "data"}."""
        folder = upload.folder_of(self.workspace / "datasets", str(request.get("folder") or ""))
        name, data = str(request.get("name") or ""), str(request.get("data") or "")
        return upload.receive(folder, name, request.get("start"), request.get("size"), data)

    def _room(self, request: Request) -> Room:
        return open_room(settings_for_pictures(sent(request, "values"), self.roots), self.roots)

    def _copies(self, room: Room) -> list[dict[str, Any]]:
        places = {folder.path.resolve() for folder in room.folders}
        return captions.kept_copies(self.copies, lambda path: path.parent in places)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(request: Request) -> list[str]:
    texts = [str(text) for text in _list(request.get("captions"))]
    if len(texts) > MOST_TOLD or any(len(text) > captions.LONGEST_CAPTION for text in texts):
        raise UserError("page.room_too_much")
    return texts
