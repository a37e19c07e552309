"""One look at the form: the answer stays small, whatever is typed, and the draft is never poisoned."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from app.answers.form import FormAnswers
from app.form.look import MOST_MARKS, MOST_ROWS, look, spread
from app.jobs.store import JobStore
from tests.trainer.made import sound_values

BROWSER = "0123456789abcdef"


def test_marks_are_spread_over_the_whole_run():
    assert spread(range(5)) == [0, 1, 2, 3, 4]
    found = spread(range(10**9))
    assert (len(found), found[0], found[-1]) == (MOST_MARKS, 0, 10**9 - 1)
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    "typed",
    [
        {"max_train_steps": 10**10},
        {"max_train_epochs": "1e10", "save_every_n_epochs": 1},
        {"epoch": 10**7, "save_every_n_steps": 1, "sample_every_n_steps": 1, "sample_prompts": "a\n" * 9000},
        {"max_resolution": "99999999,99999999", "bucket_no_upscale": False},
        {"max_bucket_reso": 10**12, "bucket_reso_steps": 1, "bucket_no_upscale": False},
    ],
)
def test_a_number_that_is_too_large_is_told_and_the_next_page_works(
    typed: dict[str, Any], tmp_path: Any, store: JobStore
):
    answers = FormAnswers(store)
    values = sound_values(tmp_path) | typed
    request = {"values": values, "browser": BROWSER, "lang": "ja"}
    found = answers.look(request)
    assert len(json.dumps(found)) < 60_000
    assert len(found["prompts"]) <= MOST_ROWS
    answers.pictures(request)
    again = answers.start({"browser": BROWSER})["values"]
    assert {key: again[key] for key in typed} == typed  # what was typed is not lost
    assert len(json.dumps(answers.look({**request, "values": again}))) < 60_000


def test_a_form_is_kept_as_the_draft_only_after_it_was_looked_at(
    tmp_path: Any, store: JobStore, monkeypatch: pytest.MonkeyPatch
):
    """Content that would end the server is not what the next page begins with."""
    answers = FormAnswers(store)

    def looked(*_: Any) -> dict[str, Any]:
        assert not answers.drafts.read(BROWSER)
        return {}

    monkeypatch.setattr(FormAnswers, "_look", looked)
    answers.look({"values": {"epoch": 3}, "browser": BROWSER})
    assert answers.drafts.read(BROWSER)["values"] == {"epoch": 3}
    assert look(sound_values(tmp_path), "en")["plan"]["counts"]["files"] == 1


def test_a_page_without_its_folder_of_jobs_works_and_makes_it_again(store: JobStore):
    shutil.rmtree(store.root)
    assert store.jobs() == []
    assert store.current() is None
    assert FormAnswers(store).start({"browser": BROWSER})["fresh"]
    with store.lock():
        assert store.root.is_dir()
