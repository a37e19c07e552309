"""Try it: pictures with a run's LoRA beside the base model's, drawn by a trainer process while one asks.

The process (`python -m trainer try JOB`) keeps the model loaded between prompts. It ends by itself when
nothing is asked for some minutes, when this program ends, and when a training begins.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from app.jobs import process
from app.jobs.files import result_file
from app.jobs.store import Job, JobStore
from app.texts import language_of, said, word
from trainer.files.job_folder import PROJECT
from trainer.messages import Language

KEPT = 20
"""Wishes that are remembered."""
ENDED = ("done", "failed", "cancelled")
WANTED = ("prompt", "negative", "strength", "seed", "width", "height", "steps", "scale", "sampler")
LORA_TAG = re.compile(r"\s*<lora:[^>]*>\s*")
"""The LoRA is there anyway; its strength is the slider's."""


@dataclass
class Wish:
    """What became of one request."""

    job: str
    state: str = "starting"
    """starting, loading, drawing, done, failed, cancelled."""
    done: int = 0
    of: int = 0
    seconds: float = 0.0
    pictures: dict[str, str] = field(default_factory=dict)
    """"base" and "lora" -> address."""
    problem: tuple[str, Mapping[str, Any]] | None = None

    def take(self, event: Mapping[str, Any]) -> None:
        """Something the process has said about it."""
        kind = event.get("event")
        if kind == "drawn":
            self.pictures[str(event["which"])] = f"/live/{quote(self.job)}/try/{quote(str(event['name']))}"
        elif kind == "failed":
            self.state, self.problem = "failed", (str(event["code"]), event.get("values") or {})
        elif kind in ("loading", "drawing", "done", "cancelled"):
            self.state = kind
            self.done, self.of = int(event.get("done", self.done)), int(event.get("of", self.of))
            self.seconds = float(event.get("seconds", 0))


class TryIt:
    """The one process that draws on trial, and the wishes it was given."""

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self._lock = threading.RLock()
        self._process: subprocess.Popen[str] | None = None
        self._job = ""
        self._number = 0
        self._wishes: OrderedDict[int, Wish] = OrderedDict()
        store.making_room.append(self.make_room)

    def ask(self, request: Any) -> dict[str, Any]:
        """Ask for pictures: {"job", "file" (name), "prompt", …} -> {"id"} or {"error"}."""
        wish = request if isinstance(request, dict) else {}
        language = language_of(wish.get("lang"))
        job = self.store.get(str(wish.get("job")))
        path = result_file(job, job.record(), str(wish.get("file"))) if job else None
        if job is None or path is None:
            return {"error": {"what": word(language, "try.no_file")}}
        if self.store.running():
            return {"error": {"what": word(language, "try.busy")}}
        wanted = {key: wish[key] for key in WANTED if key in wish}
        wanted["prompt"] = LORA_TAG.sub(" ", str(wanted.get("prompt", ""))).strip()
        try:
            return {"id": self._send(job, {**wanted, "file": str(path)})}
        except OSError as error:
            reason = word(language, "try.cannot_start", reason=error.strerror or str(error))
            return {"error": {"what": reason}}

    def look(self, request: Any) -> dict[str, Any]:
        """What became of wish {"id"}: its state, how far it is, pictures, or an error in words."""
        asked = request if isinstance(request, dict) else {}
        language = language_of(asked.get("lang"))
        with self._lock:
            wish = self._wishes.get(asked["id"]) if isinstance(asked.get("id"), int) else None
            if wish is None:
                return {"state": "cancelled"}
            told = {"state": wish.state, "done": wish.done, "of": wish.of, "pictures": dict(wish.pictures)}
            if wish.problem:
                told["error"] = in_words(*wish.problem, language)
            return {**told, "seconds": wish.seconds}

    def cancel(self, request: Any) -> dict[str, Any]:
        """Stop drawing wish {"id"}; the model stays loaded."""
        asked = request if isinstance(request, dict) else {}
        with self._lock:
            if asked.get("id") == self._number and self._process and self._process.stdin:
                try:
                    self._process.stdin.write('{"cancel": true}\n')
                except OSError:
                    self.end()
            self._give_up(cancelled=True)
        return {}

    def _send(self, job: Job, wanted: Mapping[str, Any]) -> int:
        """Give the process a wish; start it where there is none for this job. Raises OSError."""
        with self._lock:
            self._give_up(cancelled=True)
            if self._process is None or self._process.poll() is not None or self._job != job.id:
                self._start(job)
            self._number += 1
            self._wishes[self._number] = Wish(job.id)
            while len(self._wishes) > KEPT:
                self._wishes.popitem(last=False)
            assert self._process  # noqa: S101  # started above
            assert self._process.stdin  # noqa: S101  # a pipe
            self._process.stdin.write(json.dumps({"id": self._number, **wanted}) + "\n")
            return self._number

    def _start(self, job: Job) -> None:
        self.end()
        self._process = process.converse(
            [*self.store.trainer, "try", str(job.folder.path)],
            folder=PROJECT,
            log=job.folder.path / "try.log",
            environment=self.store.environment(),
        )
        self._job = job.id
        threading.Thread(target=self._listen, args=(self._process,), name="try-it", daemon=True).start()

    def _listen(self, talker: subprocess.Popen[str]) -> None:
        """Hear what the process says until it ends."""
        assert talker.stdout  # noqa: S101  # a pipe
        with talker.stdout as lines:
            for line in lines:
                self._heard(line)
        talker.wait()
        _close(talker)
        with self._lock:
            if talker is self._process:
                self._process = None
                self._give_up(problem="try.ended")

    def _heard(self, line: str) -> None:
        try:
            event = json.loads(line)
            with self._lock:
                wish = self._wishes.get(event.get("id"))
                if wish and wish.state not in ENDED:
                    wish.take(event)
        except (ValueError, TypeError, AttributeError, KeyError):
            return  # no line of ours

    def _give_up(self, *, cancelled: bool = False, problem: str = "") -> None:
        """No wish that is still open will be fulfilled."""
        for wish in self._wishes.values():
            if wish.state not in ENDED:
                wish.state = "cancelled" if cancelled else "failed"
                wish.problem = (problem, {}) if problem else None

    def make_room(self) -> None:
        """A training begins: the card is its own."""
        with self._lock:
            self._give_up(problem="try.training")
            self.end()

    def end(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            talker, self._process = self._process, None
        if talker is None:
            return
        _close(talker)
        try:
            talker.wait(0.5)
        except subprocess.TimeoutExpired:
            talker.terminate()
            try:
                talker.wait(3)
            except subprocess.TimeoutExpired:
                talker.kill()


def _close(talker: subprocess.Popen[str]) -> None:
    """No more wishes: the process ends by itself."""
    try:
        if talker.stdin:
            talker.stdin.close()
    except OSError:
        pass  # it has ended already


def in_words(code: str, values: Mapping[str, Any], language: Language) -> dict[str, str]:
    """A problem for the page."""
    if code in ("try.ended", "try.training"):
        return {"what": word(language, code)}
    told = said(code, values, language)
    return {"what": told.what, "why": told.why, "fix": told.fix}
