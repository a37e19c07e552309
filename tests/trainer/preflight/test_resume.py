"""Checks of "Resume from saved training state", before anything is loaded."""

from __future__ import annotations

import pytest

from tests.trainer.found import expect
from tests.trainer.made import sound_settings


@pytest.mark.parametrize(
    ("content", "code"),
    [("", "preflight.state_missing"), ("train_state.json", "preflight.state_of_others")],
)
def test_states_that_cannot_be_continued_are_refused(tmp_path, content, code):
    (tmp_path / "state").mkdir()
    if content:
        (tmp_path / "state" / content).write_text("{}")
    expect(sound_settings(tmp_path, resume=str(tmp_path / "state")), code, setting="resume", blocks=True)
