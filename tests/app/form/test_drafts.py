"""Tabs of one browser share a draft: changes merge by setting in any order, and nothing is lost."""

from __future__ import annotations

import itertools
import json

import pytest

from app.form.drafts import Drafts, OpenPage

BROWSER = "ab" * 16
START = {"epoch": 1, "network_dim": 8, "output_name": ""}


@pytest.fixture
def drafts(tmp_path) -> Drafts:
    drafts = Drafts(tmp_path / "drafts")
    drafts.write(BROWSER, START, [], OpenPage("first"))
    return drafts


def test_what_two_tabs_change_comes_together_by_setting(drafts):
    first = drafts.write(BROWSER, {**START, "epoch": 5}, ["epoch"], OpenPage("first"))
    second = drafts.write(BROWSER, {**START, "network_dim": 16}, ["network_dim"], OpenPage("second"))
    assert second.taken == {"epoch": 5}
    assert not second.conflicts
    assert drafts.read(BROWSER)["values"] == {**START, "epoch": 5, "network_dim": 16}
    again = drafts.write(BROWSER, {**START, "epoch": 5}, [], OpenPage("first", first.version))
    assert again.taken == {"network_dim": 16}


def test_a_setting_that_both_changed_is_told_and_the_last_word_counts(drafts):
    drafts.write(BROWSER, {**START, "epoch": 5}, ["epoch"], OpenPage("first"))
    second = drafts.write(BROWSER, {**START, "epoch": 7}, ["epoch"], OpenPage("second"))
    assert second.conflicts == {"epoch": 5}
    assert not second.taken
    assert drafts.read(BROWSER)["values"]["epoch"] == 7


def test_the_same_change_in_both_is_no_conflict(drafts):
    drafts.write(BROWSER, {**START, "epoch": 5}, ["epoch"], OpenPage("first"))
    assert not drafts.write(BROWSER, {**START, "epoch": 5}, ["epoch"], OpenPage("second")).conflicts


def test_a_tab_has_no_conflict_with_itself(drafts):
    """Its answer was lost, so it does not know the version that it has made."""
    drafts.write(BROWSER, {**START, "epoch": 5}, ["epoch"], OpenPage("first", 0, 1))
    told = drafts.write(BROWSER, {**START, "epoch": 6}, ["epoch"], OpenPage("first", 0, 2))
    assert not told.conflicts
    assert drafts.read(BROWSER)["values"]["epoch"] == 6


@pytest.mark.parametrize("order", [*itertools.permutations([1, 2, 3])])
def test_questions_in_any_order_leave_what_was_asked_last(drafts, order):
    tabs = {number: OpenPage("first", 0, number) for number in order}
    overtaken = [drafts.overtaken(BROWSER, tabs[number]) for number in order]
    assert overtaken == [number < max(order[: place + 1]) for place, number in enumerate(order)]
    for number in reversed(order):
        drafts.write(BROWSER, {**START, "epoch": number}, ["epoch"], tabs[number])
    assert drafts.read(BROWSER)["values"]["epoch"] == 3


def test_a_loaded_file_goes_from_tab_to_tab_as_one(drafts):
    drafts.write(
        BROWSER, {**START, "epoch": 5}, ["epoch", "file"], OpenPage("first"), path="a.json", offered=""
    )
    second = drafts.write(BROWSER, START, [], OpenPage("second"), path="", offered="")
    assert second.file
    assert second.file["path"] == "a.json"
    assert drafts.read(BROWSER)["path"] == "a.json"


@pytest.mark.parametrize(
    "changed", [None, [], 3, {"epoch": 3}, {"epoch": [1]}, {"epoch": ["x", "y"]}, {"epoch": [[], {}]}]
)
def test_a_draft_of_another_version_is_read(drafts, changed):
    path = drafts.folder / f"{BROWSER}.json"
    path.write_text(json.dumps({"values": {"epoch": 9}, "changed": changed, "version": "x"}))
    assert drafts.write(BROWSER, START, ["network_dim"], OpenPage("second")).version == 1


@pytest.mark.parametrize("name", ["../../etc/passwd", "", None, "x" * 32, "a" * 200])
def test_drafts_have_no_other_names(tmp_path, name):
    drafts = Drafts(tmp_path / "drafts")
    drafts.write(name, values={"epoch": 2})
    assert drafts.read(name) == {}
    assert not list(tmp_path.rglob("*.json"))
