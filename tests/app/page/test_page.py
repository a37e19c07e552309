"""The page as Gradio builds it: all settings, no question that is not ours, no other host."""

from __future__ import annotations

import pytest

from app.page.page import build_page, mount_options
from app.web.server import build_app
from trainer.settings import TRAINING

# Gradio 6.31 leaves the event loop of a page that is never served to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning"
)

BROWSER = "0123456789abcdef0123456789abcdef"


def test_page_builds_with_all_settings(store):
    page = build_page(store)
    ids = {component.get("props", {}).get("elem_id") for component in page.config["components"]}
    assert {f"f-{key}" for key in TRAINING} <= ids


def test_the_page_asks_nothing_but_its_questions(store, answers):
    """What Gradio's server calls for the page is `answers`, whose errors are sentences."""
    asked = [
        function.__name__
        for block in build_page(store).blocks.values()
        for function in getattr(block, "server_fns", [])
    ]
    assert set(asked) == set(answers.questions)


def test_a_page_at_rest_asks_for_nothing_to_do(store):
    """Gradio's queue, which nothing of the page uses, would wake the processor a thousand times a second."""
    page = build_page(store)
    assert page.fns
    assert not any(function.queue for function in page.fns.values())
    build_app(store, page, {})
    assert page._queue.sleep_when_free >= 0.1
    assert page._queue.progress_update_sleep_when_free >= 0.1


def test_page_asks_no_other_host():
    head = mount_options()["head"]
    assert "http://" not in head.replace("http://www.w3.org", "")
    assert "https://" not in head
