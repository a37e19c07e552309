"""Whatever goes wrong in a question of the page comes back as a sentence in the person's language."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from app.answers import Answers
from app.jobs.store import JobStore
from tests.app.conftest import ask, wait_until
from trainer.messages import LANGUAGES
from trainer.settings import Settings

MakeSettings = Callable[..., Settings]


class Broken(JobStore):
    """A store of which nothing works."""

    error: Exception

    def __getattribute__(self, name: str):
        if name in ("jobs", "get", "current", "running", "start"):
            raise object.__getattribute__(self, "error")
        return object.__getattribute__(self, name)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow: every write fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("error", "english", "japanese"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full", "ディスクがいっぱい"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "The disk is full", "ディスクがいっぱい"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied", "ディスクのエラー"),
        (TimeoutError("locked"), "locked", "locked"),
        (RuntimeError("a bug"), "RuntimeError: a bug", "プログラムの不具合"),
        (RecursionError("deep"), "mistake in the program", "プログラムの不具合"),
    ],
)
@pytest.mark.parametrize("question", ["jobs", "live", "stop", "act", "remove", "explain", "try_ask", "show"])
def test_an_error_is_a_sentence(store: JobStore, question, language, error, english, japanese, capsys):
    broken = Broken(store.workspace)
    broken.error = error
    answer = ask(Answers(broken), question, lang=language, job="x", do="continue", chosen=["x"])
    assert (english if language == "en" else japanese) in answer["error"]["what"]
    told = capsys.readouterr().err
    assert ("Traceback" in told) == (not isinstance(error, OSError)), "our own bugs are printed too"


@pytest.mark.skipif(os.name == "nt", reason="limits of a process are not known there")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("wish", ["continue", "move"])
def test_a_button_on_a_full_disk_says_so(store: JobStore, settings: MakeSettings, language, wish):
    """Nothing is lost: with room again the same button works."""
    stopped = store.start(settings("fail=12 quiet"))
    wait_until(stopped, "failed")
    at_work = (
        store.start(settings("seconds=0.2 quiet", max_train_steps=500)) if wish != "continue" else stopped
    )
    waiting = store.start(settings("quiet")) if wish != "continue" else stopped
    answers = Answers(store)
    state = waiting.state
    with full_disk():
        answer = ask(answers, "act", do=wish, job=waiting.id, by=-1, remedy=0, lang=language)
    full = "The disk is full" if language == "en" else "ディスクがいっぱい"
    assert full in answer["error"]["what"]
    assert waiting.state == state
    assert ask(answers, "act", do=wish, job=waiting.id, by=-1, remedy=0) == {"done": True}
    at_work.kill()
