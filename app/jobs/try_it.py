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
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.jobs import process
from app.jobs.store import Job, JobStore
from app.texts import said
from trainer.errors import UserError
from trainer.files.job_folder import PROJECT
from trainer.messages import Language

KEPT = 20
"""Wishes that are remembered."""
ENDED = ("done", "failed", "cancelled")
WANTED = ("prompt", "negative", "strength", "seed", "width", "height", "steps", "scale", "sampler")
LORA_TAG = re.compile(r"\s*<lora:[^>]*>\s*")
"""The LoRA is there anyway; its strength is the slider's."""


@dataclass
class Trial:
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
        self._wishes: OrderedDict[int, Trial] = OrderedDict()
        store.making_room.append(self.make_room)

    def ask(self, job: Job, file: Path, wish: Mapping[str, Any]) -> int:
        """Ask for pictures with a LoRA file: the wish's number. Raises UserError."""
        if self.store.running():
            raise UserError("page.try_busy")
        wanted = {key: wish[key] for key in WANTED if key in wish}
        wanted["prompt"] = LORA_TAG.sub(" ", str(wanted.get("prompt", ""))).strip()
        try:
            return self._send(job, {**wanted, "file": str(file)})
        except OSError as error:
            raise UserError("page.try_cannot_start", reason=error.strerror or str(error)) from error

    def warm(self, job: Job, file: Path) -> None:
        """Have the process load the model, since someone is about to ask: that takes longer than drawing."""
        with self._lock, suppress(OSError):
            busy = self._process is not None and self._process.poll() is None and self._job == job.id
            if busy or self.store.running():
                return
            self._give_up(cancelled=True)
            self._start(job)
            self._tell({"warm": True, "file": str(file)})

    def _tell(self, message: Mapping[str, Any]) -> None:
        assert self._process  # noqa: S101  # started by the caller
        assert self._process.stdin  # noqa: S101  # a pipe
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def look(self, number: Any, language: Language) -> dict[str, Any]:
        """What became of a wish: its state, how far it is, pictures, or a problem in words."""
        with self._lock:
            wish = self._wishes.get(number) if isinstance(number, int) else None
            if wish is None:
                return {"state": "cancelled"}
            view = {"state": wish.state, "done": wish.done, "of": wish.of, "pictures": dict(wish.pictures)}
            if wish.problem:
                problem = said(*wish.problem, language)
                view["problem"] = {"what": problem.what, "why": problem.why, "fix": problem.fix}
            return {**view, "seconds": wish.seconds}

    def cancel(self, number: Any) -> None:
        """Stop drawing a wish; the model stays loaded."""
        with self._lock:
            if number == self._number and self._process and self._process.stdin:
                try:
                    self._process.stdin.write('{"cancel": true}\n')
                except OSError:
                    self.end()
            self._give_up(cancelled=True)

    def _send(self, job: Job, wanted: Mapping[str, Any]) -> int:
        """Give the process a wish; start it where there is none for this job. Raises OSError."""
        with self._lock:
            self._give_up(cancelled=True)
            if self._process is None or self._process.poll() is not None or self._job != job.id:
                self._start(job)
            self._number += 1
            self._wishes[self._number] = Trial(job.id)
            while len(self._wishes) > KEPT:
                self._wishes.popitem(last=False)
            self._tell({"id": self._number, **wanted})
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
                self._give_up(problem="page.try_ended")

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
            self._give_up(problem="page.try_training")
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
