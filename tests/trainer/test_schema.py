"""A form of settings is a value: what serves the training form serves any other."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from app.form import marks
from app.form.help_texts import fields
from app.form.values import changed, shown_values, typed_values
from trainer.__main__ import parse_change
from trainer.errors import UserError
from trainer.preflight.values import typed_form
from trainer.schema import SET, Form, Schema, Section, Spec
from trainer.settings import TRAINING, Settings


class Sizes(Section):
    """How large."""

    width: Annotated[int, Field(ge=8, le=4096), Spec("Width", "tools", "size")] = 512
    keep_shape: Annotated[bool, Spec("Keep shape", "tools", "size", matters={"width": (SET,)})] = True
    filter: Annotated[
        Literal["lanczos", "nearest"], Spec("Filter", "tools", "size", matters={"keep_shape": (True,)})
    ] = "lanczos"
    token: Annotated[str, Spec("Token", "tools", "size", "secret")] = ""


class Resize(Form):
    """A tool's form."""

    sizes: Sizes = Sizes()


RESIZE = Schema(Resize)


def test_the_training_form_is_one_of_them():
    assert TRAINING.form is Settings
    assert TRAINING == Schema(Settings) != RESIZE
    assert {TRAINING: 1}[Schema(Settings)] == 1


def test_values_are_read_checked_and_written_back():
    assert RESIZE.read({"width": 64}).sizes.width == 64
    assert RESIZE.read({}).flat() == {"width": 512, "keep_shape": True, "filter": "lanczos"}
    assert RESIZE.read({}).replace(width=64).get("width") == 64
    with pytest.raises(ValidationError):
        RESIZE.read({"width": 2})
    with pytest.raises(KeyError):
        RESIZE.read({"epoch": 2})


@pytest.mark.parametrize(
    ("raw", "value", "codes"),
    [
        ({"width": "64"}, 64, []),
        ({"width": 4}, 8, ["preflight.value_range"]),
        ({"width": "wide"}, 512, ["preflight.value_no_number"]),
        ({"filter": "cubic"}, 512, ["preflight.value_choice"]),
        ({"widht": 4}, 512, ["preflight.setting_unknown_near"]),
    ],
)
def test_a_form_is_checked_as_the_training_form_is(raw: dict[str, Any], value: int, codes: list[str]):
    settings, problems = typed_form(raw, RESIZE)
    assert isinstance(settings, Resize)
    assert settings.sizes.width == value
    assert [problem.code for problem in problems] == codes
    for problem in problems:
        told = marks.problem_json(problem, raw, "en", RESIZE)
        assert told["label"] == (RESIZE[problem.setting].spec.label if problem.setting else "")


def test_the_page_shows_it():
    shown = shown_values({"width": 64}, RESIZE)
    assert shown == {"width": 64, "keep_shape": True, "filter": "lanczos", "token": ""}
    assert changed({"width": 64.0, "filter": "lanczos"}, RESIZE) == ["width"]
    assert typed_values({"width": "64", "epoch": 3}, RESIZE) == {"width": 64}
    assert set(fields("ja", RESIZE)) == set(RESIZE)
    assert marks.idle({"keep_shape": False}, "en", RESIZE) == {"filter": "Idle: only with Keep shape."}


def test_the_command_line_takes_it():
    assert parse_change("keep_shape=on", RESIZE) == ("keep_shape", True)
    for wrong in ("epoch=3", "width"):
        with pytest.raises(UserError):
            parse_change(wrong, RESIZE)


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ({}, False),
        ({"reg_data_dir": "/reg"}, True),
        ({"dataset_config": "d.toml"}, True),
        ({"train_data_dir": "/x"}, False),
    ],
)
def test_prior_loss_weight_counts_wherever_regularisation_pictures_may_come_from(
    values: dict[str, Any], counts: bool
):
    assert TRAINING.matters("prior_loss_weight", values) == counts
    assert ("prior_loss_weight" in marks.idle(values, "en")) != counts
