"""Whether a run can find out which of its files is the best ("Validation split")."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.judge.verdict import FEWEST_JUDGED, FEWEST_PICTURES
from trainer.plan.run import Plan
from trainer.problems import Problem, hint
from trainer.settings import TRAINING, Settings

FEWEST_FILES = 5
"""That a run writes which may stop by itself."""
REMOVING = ("save_last_n_epochs", "save_last_n_steps")


def check_plan(settings: Settings, plan: Plan) -> Iterator[Problem]:
    """Problems of what is kept back, and of the files to choose from."""
    if not settings.validation.validation_split:
        return
    off = {"validation_split": 0.0}
    if plan.judging is None:
        yield hint("validation_split", "judge.none_to_hold", off)
        return
    count = len(plan.judging.held_out)
    if count < FEWEST_PICTURES:
        yield hint("validation_split", "judge.few", off, count=count, total=count + plan.images)
    if settings.validation.stop_at_best and plan.files < max(FEWEST_FILES, FEWEST_JUDGED):
        yield hint("stop_at_best", "judge.stop_needs_files", {"stop_at_best": False}, files=plan.files)
    for key in REMOVING:
        if settings.get(key) and any(save.gone_at for save in plan.saves):
            yield hint(key, "judge.best_removed", {key: 0}, label=TRAINING[key].spec.label)
