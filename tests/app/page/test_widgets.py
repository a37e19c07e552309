"""Every setting has its widget, which shows the default and lets bad values through to the checks."""

from __future__ import annotations

import gradio as gr
import pytest

from app.form.values import shown
from app.page.widgets import component_for
from trainer.settings import TRAINING

# Gradio 6.31 leaves the event loop of a page that is never served to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning", "ignore::DeprecationWarning"
)


@pytest.fixture(scope="module")
def widgets() -> dict[str, gr.components.Component]:
    with gr.Blocks(analytics_enabled=False):
        return {key: component_for(setting) for key, setting in TRAINING.items()}


def test_every_setting_has_a_widget_that_shows_its_default(widgets):
    for key, setting in TRAINING.items():
        assert widgets[key].elem_id == f"f-{key}"
        assert widgets[key].label == setting.spec.label
        assert widgets[key].value == shown(setting, setting.default), key


def test_bad_numbers_reach_the_checks_instead_of_a_toast(widgets):
    number = widgets["network_dim"]
    assert isinstance(number, gr.Number)
    assert number.preprocess(-5) == -5
