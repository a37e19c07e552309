"""What a run says of itself: three curves and the file to take, in words."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from app.jobs.record import JobRecord
from app.texts import base_name, thousands, word
from trainer.events import Judged
from trainer.judge.copying import TOO_NEAR
from trainer.judge.verdict import FEWEST_JUDGED, Point, Verdict, judge
from trainer.messages import Language, Message, say
from trainer.settings import TRAINING

ENDS = ("finished", "stopped")
"""The states in which a run is judged."""
CODES = {"well": "judge.well", "too_little": "judge.too_little", "nothing": "judge.nothing"}


def rate_that_counts(values: Mapping[str, Any]) -> str:
    """The label of the learning rate that a run with these settings learns its subject by."""
    if values.get("unet_lr") in (None, ""):
        key = "learning_rate"
    else:
        key = "unet_lr" if values["unet_lr"] else "text_encoder_lr"
    return TRAINING[key].spec.label


def trains_both(values: Mapping[str, Any]) -> bool:
    """Whether a run with these settings trains the text encoder beside the denoiser."""
    text = values.get("text_encoder_lr")
    return values.get("unet_lr") != 0 and any(
        one != 0 for one in (text if isinstance(text, list) else [text])
    )


def length_that_counts(record: JobRecord, best: Point, last: Point) -> dict[str, str]:
    """What decides how long the run is: its label, how much the run made of it, the best file took, is more.

    {"length", "made", "enough", "longer"}. Where only a part of an epoch would be enough, it is the steps.
    """
    key = record.plan.get("decided_by") or "epoch"
    if best.step < last.step and best.epoch >= last.epoch:
        key = "max_train_steps"
    made, enough = (last.step, best.step) if key == "max_train_steps" else (last.epoch, best.epoch)
    return {
        "length": TRAINING[key].spec.label,
        "made": thousands(made),
        "enough": thousands(enough),
        "longer": thousands(made + max(1, made // 2)),
    }


def judged(
    record: JobRecord, words: str, language: Language, *, ended: bool, rate: str, both: bool = False
) -> dict[str, Any] | None:
    """Curves and verdict of a run as plain data; None where it is not judged.

    Keys: step, held_out, learned, drift (lists of equal length; shares), copies (a warning, or absent);
    once it has ended: kind, what, why, fix, unsure and, where a file is named, best (its step) and file.
    `words`: what the run has learned, as "momo cat". `rate`: the label of the setting that decides how fast;
    `both`: the text encoder is trained too.
    """
    points = [point_of(event) for event in record.judged.values()]
    if not points:
        return None
    answer: dict[str, Any] = {
        "step": [point.step for point in points],
        "held_out": [round(point.gain, 4) for point in points],
        "learned": [round(point.learned_gain, 4) for point in points],
        "drift": [round(point.drift, 4) for point in points],
    }
    if copied := copying_warning(record, words, language):
        answer["copies"] = copied
    files = {file.step: file for file in record.lora_files()}
    held = (record.plan.get("judging") or {}).get("held_out") or ()
    if not ended:
        return answer
    verdict = judge(points, files.keys(), len(held))
    if verdict is None:
        few = say(Message("judge.too_few", {"least": FEWEST_JUDGED}), language)
        return {**answer, "kind": "too_few", "what": few.what, "why": few.why, "fix": few.fix, "unsure": ""}
    file = base_name(files[verdict.best.step].path)
    subject = word(language, "quoted", text=words) if words else word(language, "judge.subject")
    values = {"file": file, "subject": subject, "rate": rate}
    values |= length_that_counts(record, verdict.best, points[-1])
    return {**answer, **verdict_in_words(verdict, values, len(held), language, both=both)}


def copying_warning(record: JobRecord, words: str, language: Language) -> str:
    """A warning where the newest samples of the subject look like single training pictures; "" else."""
    subjects = [part.strip() for part in words.split(",") if part.strip()]
    near = {
        sample.step: [
            other.near
            for other in record.samples.values()
            if other.step == sample.step
            and other.near >= 0
            and any(part in other.prompt for part in subjects)
        ]
        for sample in record.samples.values()
    }
    step = max((step for step, found in near.items() if found), default=0)
    if not step or median(near[step]) >= TOO_NEAR:
        return ""
    return str(say(Message("judge.copies", {"step": thousands(step)}), language))


def point_of(event: Judged) -> Point:
    """An event as a point."""
    return Point(event.step, event.epoch, tuple(event.held_out), tuple(event.learned), event.drift)


def verdict_in_words(
    verdict: Verdict, values: Mapping[str, str], held: int, language: Language, *, both: bool
) -> dict[str, Any]:
    """The verdict in sentences; `values`: what their places hold, but for the step."""
    drift = "drift_both" if both else "drift"
    code = CODES.get(verdict.kind) or f"judge.too_much_{drift if verdict.by_drift else 'subject'}"
    best = verdict.best
    message = say(Message(code, {**values, "step": thousands(best.step)}), language)
    unsure = "" if verdict.sure else str(say(Message("judge.unsure", {"count": held}), language))
    named = {} if verdict.kind == "nothing" else {"best": best.step, "file": values["file"]}
    return {
        **named,
        "kind": verdict.kind,
        "what": message.what,
        "why": message.why,
        "fix": message.fix,
        "unsure": unsure,
    }
