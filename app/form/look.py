"""One look at the form: marks, idle fields, problems, plan and its words, as plain data for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from app.form import values as form
from app.form.blocks import blocks
from app.form.groups import fold_of
from app.form.help_texts import default_text
from app.form.marks import idle, problem_json
from app.form.preset_files import PICTURE_SETTINGS
from app.form.told import told
from app.texts import duration, size, word
from trainer.data.dataset_file import is_listed
from trainer.errors import UserError
from trainer.families.known import PATH as MODEL
from trainer.families.table import named_by
from trainer.files.paths import clean_path
from trainer.files.roots import Roots
from trainer.messages import Language, Message, comma, say
from trainer.plan import lr_schedule
from trainer.plan.rates import denoiser_rate, text_rates
from trainer.plan.run import Plan
from trainer.plan.sample_prompts import prompts
from trainer.preflight.check import Checked, check_values
from trainer.problems import Problem, hint
from trainer.settings import TRAINING, Settings

T = TypeVar("T")
CURVE_POINTS = 160
MOST_ROWS = 100
"""Sample prompts that are shown as they will be drawn."""
MOST_MARKS = 200
"""Epochs, files and sample pictures that are marked on the timeline."""


def look(
    values: Mapping[str, Any],
    language: Language,
    seconds: Callable[[Settings, Plan], float | None] | None = None,
    roots: Roots | None = None,
) -> dict[str, Any]:
    """Everything the page shows beside the values themselves. `seconds` says how long a run will take.

    `roots`: the folders that a run has to keep to, where they are strict.
    """
    settings, checked = check_values(values, roots)
    changed = form.changed(values)
    found = [*checked.problems, *([] if checked.outside else not_shown(values, roots))]
    problems = [problem_json(problem, values, language) for problem in found]
    stopping = [problem for problem in problems if problem["blocks"]]
    nearest = Settings.from_flat(form.typed_values(values))
    known = seconds(nearest, checked.plan) if seconds and checked.plan else None
    time = "" if known is None else about_time(known, language)
    model = None if checked.outside else told(values, nearest, language)
    shared = not checked.outside and is_listed(nearest.folders)
    listed = {"train_data_dir": word(language, "note.listed")} if shared else {}
    return {
        "changed": {key: default_text(TRAINING[key], language) for key in changed},
        "idle": {key: why for key, why in idle(values, language).items() if key not in listed},
        "problems": problems,
        "counts": {
            "changed": Counter(TRAINING[key].spec.tab for key in changed),
            "stopping": Counter(problem["tab"] for problem in stopping if not problem["missing"]),
            "folds": Counter(filter(None, (fold_of(TRAINING[key]) for key in changed))),
        },
        "ready": ready(stopping, language),
        "plan": plan_json(checked, nearest, language) if checked.plan else None,
        "notes": notes(nearest, language) | listed | ({MODEL: model["note"]} if model else {}),
        "model": model,
        "blocks": blocks(named_by(nearest.model)),
        "prompts": prompt_table(nearest),
        "bar": bar_lines(checked, stopping, language, time),
        "total": len(TRAINING),
        "legal": settings is not None,
    }


def not_shown(values: Mapping[str, Any], roots: Roots | None) -> list[Problem]:
    """Folders of pictures that a run may read, but the page may not: said at the field."""
    found = []
    for key in PICTURE_SETTINGS:
        text = values.get(key)
        path = clean_path(text) if isinstance(text, str) else ""
        if roots and path and Path(path).is_absolute() and roots.place(path) is None:
            said = {"label": TRAINING[key].spec.label, "path": path[:300], "folders": roots.names()}
            found.append(hint(key, "preflight.outside_not_shown", None, **said))
    return found


def ready(stopping: list[dict[str, Any]], language: Language) -> list[dict[str, Any]]:
    """What is still to be filled in before anything can be trained; [] once it is."""
    missing = {problem["setting"] for problem in stopping if problem["missing"]}
    wrong = missing | {problem["setting"] for problem in stopping}
    required = [key for key, setting in TRAINING.items() if setting.spec.required]
    if not missing:
        return []
    items = [
        {"key": key, "text": word(language, f"ready.{key}"), "done": key not in wrong}
        for key in required
        if key != "output_name" or key in missing
    ]
    return [*items, {"key": "", "text": word(language, "ready.rest"), "done": True}]


def plan_json(checked: Checked, settings: Settings, language: Language) -> dict[str, Any]:
    """The plan's numbers and sentences."""
    plan = checked.plan
    assert plan  # noqa: S101  # asked by the caller
    facts = [
        (word(language, "plan.steps"), f"{plan.total_steps:,}"),
        (word(language, "plan.memory"), word(language, "about", text=size(plan.memory_bytes))),
        (word(language, "plan.disk"), f"{plan.files:,} × {size(plan.lora_bytes)}"),
        (word(language, "plan.file"), plan.final_name),
    ]
    return {
        "facts": [fact for fact in facts if fact[1]],
        "summary": plan_summary(plan, language),
        "total": plan.total_steps,
        "assumed": bool(checked.assumed),
        "epochs": [
            min(plan.total_steps, epoch * plan.steps_per_epoch) for epoch in spread(range(plan.epochs + 1))
        ],
        "saves": [{"step": save.step, "name": save.name} for save in spread(plan.saves)],
        "samples": list(spread(plan.sample_steps)),
        "counts": {
            "epochs": plan.epochs,
            "files": plan.files,
            "points": plan.sample_times,
            "prompts": plan.samples,
        },
        "sum": str(say(plan.said_length(), language)),
        "rule": say(plan.said_rule(), language).what,
        "judging": judging(plan, language),
        "curve": rate_curves(settings, plan.total_steps, plan.warmup_steps),
    }


OFFERED_FROM = 8
"""Pictures; with fewer it is not offered to keep some back."""
OFFERED_SHARE = 0.15


def judging(plan: Plan, language: Language) -> dict[str, Any] | None:
    """What is said of judging the run, or the offer to do so with the setting that does it."""
    if planned := plan.judging:
        held = len(planned.held_out)
        values = {"held": held, "total": held + plan.images, "points": len(planned.steps)}
        cost = f"{max(1, round(planned.cost * 100))} %"
        return {"text": say(Message("judge.plan", {**values, "cost": cost}), language).what}
    if plan.images < OFFERED_FROM:
        return None
    held = max(1, round(OFFERED_SHARE * plan.images))
    text = say(Message("judge.offer", {"held": held, "total": plan.images}), language).what
    return {"text": text, "fix": {"validation_split": OFFERED_SHARE}, "button": word(language, "plan.judge")}


def spread(items: Sequence[T]) -> list[T]:
    """At most MOST_MARKS of them, evenly over all, the first and the last included."""
    last = len(items) - 1
    if last < MOST_MARKS:
        return list(items)
    return [items[place * last // (MOST_MARKS - 1)] for place in range(MOST_MARKS)]


def plan_summary(plan: Plan, language: Language) -> str:
    """10 epochs, 5 files, 3 × 6 sample pictures."""
    parts = [
        word(language, "plan.epochs", count=f"{plan.epochs:,}"),
        word(language, "plan.files", count=f"{plan.files:,}"),
    ]
    if plan.samples and plan.sample_times:
        times = f"{plan.sample_times:,}"
        parts.append(word(language, "plan.samples", prompts=plan.samples, points=times))
    return comma(language).join(parts)


def rate_curves(settings: Settings, total: int, warmup: int) -> dict[str, Any] | None:
    """Learning rates over the run, at most CURVE_POINTS points per line: [[step, rate], …]."""
    try:
        factor = lr_schedule.schedule(settings.optimizer, total, warmup)
    except (UserError, ValueError, ZeroDivisionError):
        return None
    optimizer = settings.optimizer
    every = max(1, total // CURVE_POINTS)
    steps = sorted({*range(0, total, every), min(warmup, total - 1), total - 1})
    first, second = text_rates(optimizer)
    rates = {"unet": denoiser_rate(optimizer), "text_encoder": first}
    if second != first and named_by(settings.model).text_encoders[1:]:
        rates["text_encoder_2"] = second
    lines = {}
    for name, base in rates.items():
        end = 0 if name == "unet" else total * optimizer.stop_text_encoder_training // 100
        shown = [step for step in steps if not end or step <= end]
        if base:
            lines[name] = [[step, base * factor(step)] for step in shown]
    top = max((point[1] for line in lines.values() for point in line), default=0)
    labels = [form.rate_text(float(f"{part:.3g}")) for part in (top, top / 2)] if top else []
    stop = optimizer.stop_text_encoder_training
    return {"lines": lines, "top": top, "labels": [*labels, "0"], "stop": stop} if top else None


def notes(settings: Settings, language: Language) -> dict[str, str]:
    """Short remarks under fields: what several of them mean together."""
    found = {}
    dim, alpha = settings.network.network_dim, settings.network.network_alpha
    ratio = f"{alpha / dim:.3g}"
    found["network_alpha"] = word(language, "note.strength", alpha=f"{alpha:g}", dim=dim, ratio=ratio)
    optimizer = settings.optimizer
    if optimizer.unet_lr is not None and optimizer.text_encoder_lr is not None:
        found["learning_rate"] = word(language, "note.rate_unused")
    found[MODEL] = word(language, "note.model")
    found["model_list"] = word(language, "note.quick_pick")
    return found


def prompt_table(settings: Settings) -> list[dict[str, Any]]:
    """The sample prompts as they will be drawn (the first MOST_ROWS)."""
    return [
        {
            "prompt": line.prompt, "negative": line.negative or "", "size": f"{line.width} × {line.height}",
            "seed": "" if line.seed is None else str(line.seed), "scale": f"{line.scale:g}",
            "steps": str(line.steps),
        }
        for line in prompts(settings.sampling.sample_prompts, named_by(settings.model))[:MOST_ROWS]
    ]  # fmt: skip


def about_time(seconds: float, language: Language) -> str:
    """ "about 18 min"."""
    rounded = round(seconds) if seconds < 50 else 60 * max(1, round(seconds / 60))
    return word(language, "about", text=duration(rounded, language))


def bar_lines(
    checked: Checked, stopping: list[dict[str, Any]], language: Language, time: str = ""
) -> dict[str, str]:
    """The action bar's two lines, and where its link leads. `time`: how long it will take, in words."""
    if missing := [problem for problem in stopping if problem["missing"]]:
        return {
            "state": "missing",
            "head": word(language, "bar.not_ready"),
            "text": word(language, f"bar.{missing[0]['setting']}"),
            "key": missing[0]["setting"],
        }
    if stopping:
        first = stopping[0]
        head = word(language, "bar.problems", count=len(stopping))
        return {
            "state": "stopped",
            "head": head,
            "link": first["label"] or first["what"],
            "key": first["setting"],
        }
    if not checked.plan:
        return {"state": "ready", "head": word(language, "bar.ready"), "text": "", "key": ""}
    steps = word(language, "bar.steps", count=f"{checked.plan.total_steps:,}")
    head = f"{steps}{'、' if language == 'ja' else ', '}{time}" if time else steps
    return {"state": "ready", "head": head, "text": length_words(checked.plan, language), "key": ""}


def length_words(plan: Plan, language: Language) -> str:
    """Where the number of steps comes from, short: 24 pictures × 10 repeats ÷ 2 × 10 epochs."""
    learned = [part for part in plan.folders if not part.is_reg]
    if plan.decided_by == "max_train_steps":
        return say(plan.said_rule(), language).what
    if len(learned) != 1 or plan.reg_images or plan.accumulation > 1:
        return plan.formula
    divided = f" ÷ {plan.batch_size}" if plan.batch_size > 1 else ""
    pictures = word(language, "bar.pictures", count=f"{learned[0].pictures:,}")
    repeats = word(language, "bar.repeats", count=learned[0].repeats)
    return " × ".join((pictures, repeats + divided, word(language, "plan.epochs", count=f"{plan.epochs:,}")))
