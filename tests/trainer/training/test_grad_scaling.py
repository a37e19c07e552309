"""fp16's skipped steps, by a real gradient scaler: counted, told, and the end where all are skipped."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer

from tests.trainer.runs import short_settings
from trainer.errors import UserError
from trainer.events import Event, Notice
from trainer.files.job_folder import JobFolder
from trainer.plan.inputs import read_inputs
from trainer.training.build import build_parts
from trainer.training.grad_scaling import MOST_IN_A_ROW, SkippedSteps
from trainer.training.loop import change_weights, train


def test_skipped_steps_are_counted_and_change_nothing(tmp_path):
    told: list[Event] = []
    # As on a card: the AdamW that a CPU is given is fused, and keeps from the scaler that it skipped.
    settings = short_settings(tmp_path, max_train_steps=8, optimizer_args="fused=False")
    parts = build_parts(read_inputs(settings), JobFolder.create(tmp_path, settings), told.append)
    scaler = torch.amp.GradScaler("cpu", growth_interval=1000)
    optimizer = AcceleratedOptimizer(parts.optimizer.optimizer, device_placement=False, scaler=scaler)  # pyright: ignore[reportAttributeAccessIssue]  # accelerate wraps it
    parts.accelerator.scaler = scaler
    parts.accelerator._optimizers[:] = [optimizer]
    overflows = iter([True, False, True, True])
    parts.network.parameters()[0].register_hook(
        lambda grad: grad * float("inf") if next(overflows, False) else grad
    )
    train(replace(parts, optimizer=optimizer), told.append, lambda: False)
    assert parts.skipped.total == 3
    assert scaler.get_scale() == 65_536 / 8
    assert parts.lr_scheduler.last_epoch == 5, "skipped steps do not move the schedule"
    [notice] = [
        event for event in told if isinstance(event, Notice) and event.code == "training.steps_skipped"
    ]
    assert notice.values == {"count": parts.skipped.total}


def test_when_every_step_is_skipped_the_run_ends():
    skipped = SkippedSteps(lambda event: None)
    for _ in range(3):
        for _ in range(MOST_IN_A_ROW - 1):
            skipped.count(skipped=True)
        skipped.count(skipped=False)
    for _ in range(MOST_IN_A_ROW - 1):
        skipped.count(skipped=True)
    with pytest.raises(UserError, match="float16"):
        skipped.count(skipped=True)


def test_a_gradient_that_is_no_number_changes_no_weight(tmp_path):
    settings = short_settings(tmp_path)
    parts = build_parts(read_inputs(settings), JobFolder.create(tmp_path, settings), lambda event: None)
    parameters = parts.network.parameters()
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, float("nan"))
    before = [parameter.detach().clone() for parameter in parameters]
    with pytest.raises(UserError, match="Learning rate"):
        change_weights(parts)
    assert all(torch.equal(old, new) for old, new in zip(before, parameters, strict=True))
