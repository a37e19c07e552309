"""What the page says of a run that was judged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from app.jobs.judged import judged, rate_that_counts, trains_both
from app.jobs.record import JobRecord
from trainer.messages import Language


def record(
    folder: Path,
    gains: list[float],
    drift: list[float],
    held: int = 4,
    *,
    decided: str = "epoch",
    each: int = 1,
) -> JobRecord:
    """A run with a file and a point every 10 steps; an epoch has `each` of them."""
    plan = {
        "decided_by": decided,
        "judging": {"held_out": [f"10_cat/{number}.png" for number in range(held)]},
    }
    lines: list[dict[str, Any]] = [
        {"event": "started", "total_steps": 60, "epochs": 6, "seed": 1, "device": "cpu", "plan": plan}
    ]
    for number, (gain, moved) in enumerate(zip(gains, drift, strict=True), 1):
        logs = [math.log(1 - gain)] * 8
        lines.append(
            {
                "event": "judged",
                "step": 10 * number,
                "epoch": -(-number // each),
                "held_out": logs,
                "learned": logs,
                "drift": moved,
            }
        )
        lines.append(
            {
                "event": "saved",
                "step": 10 * number,
                "epoch": -(-number // each),
                "path": f"/out/cat-{number:06d}.safetensors",
                "size": 9,
            }
        )
    path = folder / "events.jsonl"
    path.write_text("".join(json.dumps({**line, "time": 1.0}) + "\n" for line in lines))
    found = JobRecord(path)
    found.read()
    return found


BURNT = [0.2, 0.4, 0.5, 0.3, 0.1, -0.2]


def test_the_file_to_take_is_named_with_a_reason(tmp_path: Path):
    told = judged(record(tmp_path, BURNT, [0.0] * 6), "momo cat", "en", ended=True, rate="Unet learning rate")
    assert told is not None
    assert told["best"] == 30
    assert "cat-000003.safetensors" in told["what"]
    assert "momo cat" in told["why"]
    assert "**Unet learning rate**" in told["fix"]
    assert not told["unsure"]
    assert told["held_out"] == [pytest.approx(gain, abs=1e-3) for gain in BURNT]


def test_the_rate_that_is_named_is_the_one_that_counts():
    assert rate_that_counts({"learning_rate": 1e-4, "unet_lr": None}) == "Learning rate"
    assert rate_that_counts({"learning_rate": 1e-4, "unet_lr": 1e-4}) == "Unet learning rate"
    assert rate_that_counts({"unet_lr": 0.0, "text_encoder_lr": 1e-4}) == "Text Encoder learning rate"


def test_in_japanese_too(tmp_path: Path):
    told = judged(record(tmp_path, BURNT, [0.0] * 6), "", "ja", ended=True, rate="Unet learning rate")
    assert told is not None
    assert "学習対象" in told["why"]
    assert "丸暗記" in told["why"]


def test_prompts_that_change_are_a_reason_of_their_own(tmp_path: Path):
    told = judged(
        record(tmp_path, [0.3, 0.5, 0.5, 0.5, 0.5, 0.5], [0, 0, 0.1, 0.2, 0.3, 0.4]),
        "",
        "en",
        ended=True,
        rate="Unet learning rate",
    )
    assert told is not None
    assert told["best"] == 20
    assert "prompts without it" in told["why"]


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize(
    ("text", "named"), [(0, False), (1e-4, True), (None, True), ([0, 0], False), ([0, 1e-5], True)]
)
def test_the_text_encoders_rate_is_named_only_where_it_is_trained(
    tmp_path: Path, language: Language, text: Any, named: bool
):
    found = record(tmp_path, [0.3, 0.5, 0.5, 0.5, 0.5, 0.5], [0, 0, 0.1, 0.2, 0.3, 0.4])
    both = trains_both({"unet_lr": 1e-4, "text_encoder_lr": text})
    told = judged(found, "", language, ended=True, rate="Unet learning rate", both=both)
    assert told is not None
    assert "**Unet learning rate**" in told["fix"]
    assert ("**Text Encoder learning rate**" in told["fix"]) == named


def test_while_it_runs_there_are_curves_and_no_verdict(tmp_path: Path):
    told = judged(record(tmp_path, BURNT, [0.0] * 6), "", "en", ended=False, rate="Unet learning rate")
    assert told is not None
    assert "best" not in told
    assert told["step"] == [10, 20, 30, 40, 50, 60]


def test_a_run_that_learned_nothing_names_no_file(tmp_path: Path):
    told = judged(record(tmp_path, [0.0] * 6, [0.0] * 6), "", "en", ended=True, rate="Unet learning rate")
    assert told is not None
    assert told["kind"] == "nothing"
    assert "file" not in told
    assert "best" not in told


def test_few_pictures_make_it_a_guess(tmp_path: Path):
    told = judged(record(tmp_path, BURNT, [0.0] * 6, held=1), "", "en", ended=True, rate="Unet learning rate")
    assert told is not None
    assert "guess" in told["unsure"]


def test_a_run_with_too_few_points_says_so_instead_of_naming_a_file(tmp_path: Path):
    told = judged(record(tmp_path, BURNT[:2], [0.0] * 2), "", "en", ended=True, rate="Unet learning rate")
    assert told is not None
    assert told["kind"] == "too_few"
    assert "Save every N epochs" in told["fix"]
    assert "file" not in told


@pytest.mark.parametrize(
    ("decided", "each", "best", "said"),
    [
        ("epoch", 1, 1, "**Epoch** 1 is enough (this run: 6)"),
        ("max_train_epochs", 1, 3, "**Max train epoch** 3 is enough (this run: 6)"),
        ("epoch", 2, 3, "**Epoch** 2 is enough (this run: 3)"),
        ("epoch", 6, 3, "**Max train steps** 30 is enough (this run: 60)"),
        ("max_train_steps", 1, 3, "**Max train steps** 30 is enough (this run: 60)"),
    ],
)
def test_what_is_enough_is_told_by_the_setting_that_decides(
    tmp_path: Path, decided: str, each: int, best: int, said: str
):
    gains = [0.5 if number == best else 0.1 for number in range(1, 7)]
    found = record(tmp_path, gains, [0.0] * 6, decided=decided, each=each)
    told = judged(found, "", "en", ended=True, rate="Unet learning rate")
    assert told is not None
    assert said in told["fix"]


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize(
    ("decided", "length", "longer"), [("epoch", "Epoch", "9"), ("max_train_steps", "Max train steps", "90")]
)
def test_a_run_that_still_learns_is_to_be_longer_by_the_setting_that_decides(
    tmp_path: Path, decided: str, length: str, longer: str, language: Language
):
    found = record(tmp_path, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.0] * 6, decided=decided)
    told = judged(found, "", language, ended=True, rate="Unet learning rate")
    assert told is not None
    assert told["kind"] == "too_little"
    assert f"**{length}**" in told["fix"]
    assert f" {longer} " in told["fix"]


def test_a_run_that_is_not_judged_says_nothing(tmp_path: Path):
    assert judged(record(tmp_path, [], []), "", "en", ended=True, rate="Unet learning rate") is None


@pytest.mark.parametrize(("near", "warned"), [([0.1, 0.3], True), ([0.9, 1.2], False), ([-1, -1], False)])
def test_samples_that_look_like_single_training_pictures_are_pointed_out(
    tmp_path: Path, near: list[float], warned: bool
):
    found = record(tmp_path, BURNT, [0.0] * 6)
    samples = [
        {"step": 60, "index": index, "prompt": "momo cat in a tree", "near": value}
        for index, value in enumerate(near)
    ]
    others = [{"step": 60, "index": 5, "prompt": "a dog", "near": 0.01}]
    with found.path.open("a") as file:
        for sample in (*samples, *others):
            file.write(
                json.dumps({"event": "sampled", "time": 2.0, "path": "samples/a.png", **sample}) + "\n"
            )
    found.read()
    told = judged(found, "momo cat", "en", ended=True, rate="Unet learning rate")
    assert told is not None
    assert ("copies" in told) == warned
