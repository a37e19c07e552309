"""What the page shows beside a form: what is missing, marks, idle fields, fixes, the plan."""

from __future__ import annotations

import pytest

from app.form import dataset
from app.form import values as form
from app.form.look import look
from app.form.values import typed_values
from trainer.plan.inputs import read_inputs
from trainer.settings import Settings


@pytest.mark.parametrize("language", ["en", "ja"])
def test_empty_form_says_what_is_missing(language):
    seen = look(form.shown_values({}), language)
    assert [item["done"] for item in seen["ready"]] == [False, False, False, True]
    assert seen["bar"]["state"] == "missing"
    assert seen["bar"]["key"] == "pretrained_model_name_or_path"
    assert seen["counts"]["stopping"] == {}  # a field not filled in yet is no mistake


def test_ready_form_has_a_plan(values):
    seen = look(values, "en")
    assert seen["bar"]["state"] == "ready", seen["problems"]
    assert seen["plan"]["total"] == 36
    assert "36" in seen["plan"]["sum"]
    assert seen["bar"]["text"] == "6 pictures × 3 repeats × 2 epochs"
    assert look({**values, "epoch": 1}, "en")["bar"]["text"].endswith(" × 1 epoch")
    assert [save["step"] for save in seen["plan"]["saves"]] == [18, 36]
    assert set(seen["plan"]["curve"]["lines"]) == {"unet", "text_encoder"}
    assert seen["plan"]["curve"]["labels"][0] == "1e-4"


def test_curve_ends_where_the_text_encoder_stops(values):
    lines = look({**values, "stop_text_encoder_training": 50}, "en")["plan"]["curve"]["lines"]
    assert lines["text_encoder"][-1][0] <= 18
    assert lines["unet"][-1][0] == 35


def test_idle_fields_say_why(values):
    idle = look(values, "en")["idle"]
    assert idle["dim_from_weights"] == "Idle: only with LoRA network weights."
    assert idle["lr_scheduler_power"] == "Idle: only with LR Scheduler polynomial."
    assert "lr_scheduler_power" not in look({**values, "lr_scheduler": "polynomial"}, "en")["idle"]
    assert "今は無効" in look(values, "ja")["idle"]["dim_from_weights"]


def test_changed_settings_are_counted_by_tab(values):
    seen = look({**values, "network_dim": 16}, "en")
    assert seen["changed"]["network_dim"] == "8"
    assert seen["counts"]["changed"]["training"] >= 3


def test_a_fix_is_named_and_mends(values, pictures):
    wrong = {**values, "train_data_dir": str(pictures / "3_cat")}
    [problem] = [entry for entry in look(wrong, "en")["problems"] if entry["blocks"]]
    assert problem["setting"] == "train_data_dir"
    assert problem["changes"]["train_data_dir"] == str(pictures)
    assert str(pictures)[-20:] in problem["button"]
    assert look({**wrong, **problem["changes"]}, "en")["bar"]["state"] == "ready"


def test_dataset_plan_counts_and_draws_pictures(values):
    plan = dataset.dataset(values, "en")
    assert plan is not None
    first = plan["buckets"][0]
    assert (first["size"], len(first["thumbs"])) == ("128 × 128", 4)
    assert all(
        thumb["src"].startswith("data:image/jpeg") for bucket in plan["buckets"] for thumb in bucket["thumbs"]
    )
    assert sum(not thumb["found"] for bucket in plan["buckets"] for thumb in bucket["thumbs"]) == 2
    assert "2 pictures" in plan["without"]


def test_dataset_plan_counts_what_is_learned_and_tells_what_is_kept_back(values):
    values = {**values, "validation_split": 0.2}
    learned, kept_back = read_inputs(Settings.from_flat(typed_values(values))).split
    plan = dataset.dataset(values, "en")
    assert plan is not None
    figures = {text: figure for figure, text in plan["stats"]}
    assert len(kept_back) == 1
    assert figures["kept back to judge the run"] == "1"
    assert plan["stats"][0][0] == str(len(learned))
    shown = {thumb["name"] for bucket in plan["buckets"] for thumb in bucket["thumbs"]}
    assert shown == {image.path.name for image in learned}
