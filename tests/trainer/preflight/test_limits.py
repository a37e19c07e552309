"""One typed number stops nothing but its own run: limits are told, and no list grows with them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.trainer.found import expect, find
from tests.trainer.made import image_folder, sound_settings, sound_values
from trainer.plan import machine
from trainer.preflight.check import MOST_PROBLEMS, check, check_values
from trainer.settings import MOST_STEPS, TRAINING

NUMBERS = [key for key, setting in TRAINING.items() if setting.kind in ("int", "float")]
HUGE = (10**10, 1e10, "1e10", 10**30, 1e308, "9" * 30, -(10**30))


def test_every_number_has_limits():
    for key in NUMBERS:
        low = TRAINING[key].bound("ge")
        assert (TRAINING[key].bound("gt") if low is None else low) is not None, key
        assert TRAINING[key].bound("le") is not None, key


@pytest.mark.parametrize("value", HUGE, ids=str)
def test_any_number_may_be_typed_into_any_field(value: Any, tmp_path: Any):
    """The answer stays small, and each value that cannot be is told at its field with one that can."""
    values = sound_values(tmp_path) | {"enable_bucket": True, "sample_prompts": "a cat"}
    for key in NUMBERS:
        settings, found = check_values({**values, key: value})
        own = [problem for problem in found.problems if problem.setting == key and problem.blocks]
        assert settings is None, key
        assert TRAINING[key].spec.label in str(own[0].said()), key
        plan = found.plan.as_json() if found.plan else None
        assert len(json.dumps([plan, [problem.as_json() for problem in found.problems]])) < 30_000, key


def at_limits() -> list[dict[str, Any]]:
    """Each number at its highest and lowest, alone and with what multiplies it."""
    ends = [{key: TRAINING[key].bound("le")} for key in NUMBERS]
    ends += [{key: low} for key in NUMBERS if (low := TRAINING[key].bound("ge")) is not None]
    ends += [{"max_train_epochs": MOST_STEPS, "save_every_n_epochs": 1, "save_every_n_steps": 1}]
    ends += [{"max_train_steps": MOST_STEPS, "sample_every_n_steps": 1, "sample_prompts": "a\n" * 5000}]
    return ends


def test_values_at_their_limits_give_a_plan_that_can_be_shown(tmp_path: Any):
    base = sound_values(tmp_path) | {"bucket_no_upscale": False, "min_bucket_reso": 64}
    for values in at_limits():
        _, found = check_values({**base, **values})
        if found.plan:
            assert len(json.dumps(found.plan.as_json())) < 5_000_000, values


@pytest.mark.parametrize(
    ("values", "code", "setting"),
    [
        ({"max_train_epochs": 1_000_000}, "steps_many", "max_train_epochs"),
        ({"epoch": MOST_STEPS}, "steps_many", "epoch"),
        ({"max_train_steps": 50_000, "save_every_n_steps": 1}, "files_many", "save_every_n_steps"),
        ({"max_train_epochs": 20_000, "save_every_n_epochs": 1}, "files_many", "save_every_n_epochs"),
        (
            {"max_train_steps": 50_000, "sample_every_n_steps": 2, "sample_prompts": "a"},
            "times_many",
            "sample_every_n_steps",
        ),
    ],
)
def test_too_long_runs_are_told_and_mended(values: dict[str, Any], code: str, setting: str, tmp_path: Any):
    settings = sound_settings(tmp_path, **values)
    problem = expect(settings, f"preflight.{code}", setting=setting, blocks=True)
    assert problem.fix is not None


def test_an_epoch_that_is_too_long_alone_and_a_date_for_a_count_are_told(tmp_path: Any):
    image_folder(tmp_path / "many", 101, "100000_cat")
    long = sound_settings(tmp_path, train_data_dir=str(tmp_path / "many"))
    expect(long, "preflight.epoch_long", setting="train_data_dir", blocks=True)
    image_folder(tmp_path / "dated", 1, "20240131_holiday")
    dated = long.replace(train_data_dir=str(tmp_path / "dated"))
    problem = expect(dated, "preflight.folder_repeats", setting="train_data_dir", blocks=True)
    assert problem.values["example"] == "10_holiday"
    image_folder(tmp_path / "dated", 1, "2_cat")
    expect(dated, "preflight.left_many_repeats", setting="train_data_dir", blocks=True)


def test_a_side_that_no_picture_has_is_refused(tmp_path: Any):
    for text in ("20000,512", "512,999999999", "100000", "16385x64"):
        settings = sound_settings(tmp_path, max_resolution=text, bucket_no_upscale=False)
        expect(settings, "preflight.resolution_large", setting="max_resolution", blocks=True)


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory", lambda: 20_000_000_000)
    monkeypatch.setattr(machine, "graphics_memory", lambda: 4_000_000_000)


@pytest.mark.usefixtures("small_machine")
@pytest.mark.parametrize(
    ("values", "code", "setting", "blocks"),
    [
        ({"network_dim": 100_000}, "memory_little", "network_dim", True),
        ({"LoRA_type": "LyCORIS/LoCon", "conv_dim": 50_000}, "memory_little", "conv_dim", True),
        ({"max_resolution": "4096,4096", "train_batch_size": 4}, "memory_little", "train_batch_size", True),
        ({"sample_prompts": "a --w 20000 --h 20000"}, "sample_memory", "sample_prompts", True),
        ({"sample_prompts": "a\nb --h 2400 --w 2400"}, "sample_memory", "sample_prompts", False),
    ],
)  # fmt: skip
def test_what_cannot_fit_into_this_machine_stops_the_run(
    values: dict[str, Any], code: str, setting: str, blocks: bool, tmp_path: Any
):
    full_size = {"pretrained_model_name_or_path": "stable-diffusion-v1-5/stable-diffusion-v1-5"}
    size = {"max_resolution": "512,512", "sample_every_n_steps": 1, "bucket_no_upscale": False}
    settings = sound_settings(tmp_path, **{**full_size, **size, "max_bucket_reso": 4096, **values})
    problem = find(check(settings), f"preflight.{code}")
    assert (problem.setting, problem.blocks) == (setting, blocks)


def test_the_graphics_card_is_not_asked_where_the_machine_is_large_enough(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine, "memory", lambda: 500_000_000_000)
    monkeypatch.setattr(machine, "graphics_memory", lambda: pytest.fail("asked"))
    assert not check(sound_settings(tmp_path)).problems


def options(count: int) -> str:
    return " ".join(f"--option_number_{number} 1" for number in range(count))


def test_a_text_of_nonsense_is_one_problem(tmp_path: Any):
    """Its size follows the text's, not the square of it."""
    for count in (4, 700):
        values = sound_values(tmp_path) | {"additional_parameters": options(count) + " --seed 7"}
        _, found = check_values(values)
        (problem,) = [problem for problem in found.problems if problem.setting == "additional_parameters"
                      and problem.blocks]  # fmt: skip
        assert problem.code == "preflight.parameters_unknown"
        assert problem.values["count"] == f"{count:,}"
        assert problem.fix == {"additional_parameters": "--seed 7"}
        assert len(str(problem.said())) < 400
    _, found = check_values({**values, "additional_parameters": options(3)})
    assert [problem.code for problem in found.problems] == ["preflight.parameter_unknown"] * 3


def test_no_more_problems_are_told_than_anyone_reads(tmp_path: Any):
    lines = "\n".join(f"a cat --x{number} 1" for number in range(900))
    settings = sound_settings(
        tmp_path, sample_prompts=lines, sample_every_n_epochs=1, unet_lr=0, text_encoder_lr=0
    )
    found = check(settings)
    assert found.blocked
    assert len(found.problems) == MOST_PROBLEMS + 1
    assert found.problems[-1].values["count"] == f"{900 + 1 - MOST_PROBLEMS:,}"
