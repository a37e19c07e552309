"""What takes time about a room's pictures, found out beside the page: token counts, likeness, small views."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from app.dataset import alike
from app.dataset.room import Room
from trainer.data.caption_tokens import cut_at, token_count, words_in_pieces

View = Callable[[Path, str], bytes | None]
"""Makes (and keeps) the small view of a picture by its path and stamp; None for one that cannot be shown."""
GROUPED_EVERY = 500
"""Pictures after which likeness is told anew."""


def told_of(caption: str, limit: int) -> dict[str, Any]:
    """{"tokens", "cut": what is beyond the limit, "words": {word: of how many pieces CLIP makes it}}."""
    words = words_in_pieces(caption)
    count = token_count(caption)
    cut = cut_at(caption, limit)[1].lstrip(", ") if count > limit else ""
    return {"tokens": count, **({"cut": cut} if cut else {}), **({"words": words} if words else {})}


class Study:
    """Looks at all pictures of a room in a thread of its own."""

    def __init__(self, room: Room, view: View) -> None:
        self.room, self.view = room, view
        self.captions: dict[str, dict[str, Any]] = {}
        self.captions_done = False
        self.looks: list[alike.Likeness | None] = [None] * len(room.pictures)
        self.unreadable: list[int] = []
        self.alike: list[list[int]] = []
        self.equal: list[list[int]] = []
        self.done = 0
        self._left = threading.Event()
        self._starting = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True, name="dataset room")

    def start(self) -> None:
        """Begin, if that was not done yet; `news` tells how far it is."""
        with self._starting:
            if self._thread.ident is None:
                self._thread.start()

    def stop(self) -> None:
        """Nobody looks at the room any more."""
        self._left.set()

    def wait(self) -> None:
        """Until all is found out."""
        self._thread.join()

    def news(self, captions_known: bool, seen: int) -> dict[str, Any]:
        """What was found out. `captions_known`: the page has what is told of captions; `seen`: its `done`."""
        done = self.done
        found: dict[str, Any] = {"done": done, "total": len(self.room.pictures)}
        if self.captions_done and not captions_known:
            found["captions"] = self.captions
        if done != seen:
            found |= {"alike": self.alike, "equal": self.equal, "unreadable": self.unreadable}
        return found

    def _run(self) -> None:
        _step_back()
        for place, picture in enumerate(self.room.pictures):
            if self._left.is_set():
                return
            if picture.caption and picture.stamp:
                self.captions[str(place)] = told_of(picture.caption, self.room.limit)
        self.captions_done = True
        self.equal = self._equal()
        for place, picture in enumerate(self.room.pictures):
            if self._left.is_set():
                return
            self._look(place, picture.path, "" if picture.unreadable else picture.stamp)
            if place % GROUPED_EVERY == GROUPED_EVERY - 1:
                self.alike = alike.groups(self.looks)
            self.done = place + 1
        self.alike = alike.groups(self.looks)
        self.done = len(self.room.pictures)

    def _look(self, place: int, path: Path, stamp: str) -> None:
        if not stamp:
            return
        data = self.view(path, stamp)
        if data is None:
            self.unreadable.append(place)
            return
        with Image.open(BytesIO(data)) as small:
            self.looks[place] = alike.look_at(small)

    def _equal(self) -> list[list[int]]:
        """Pictures whose files hold the same bytes."""
        sizes: dict[str, list[int]] = defaultdict(list)
        for place, picture in enumerate(self.room.pictures):
            if picture.stamp:
                sizes[picture.stamp.partition("-")[2]].append(place)
        found: dict[str, list[int]] = defaultdict(list)
        for places in sizes.values():
            for place in places if len(places) > 1 else ():
                if digest := _digest(self.room.pictures[place].path):
                    found[digest].append(place)
        return sorted(places for places in found.values() if len(places) > 1)


def _step_back() -> None:
    """This thread lets others go first: somebody scrolls meanwhile. On Linux alone a thread can say so."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
            return digest.hexdigest()
    except OSError:
        return ""
