"""What to change after a failed run: choices that change the form, each with its price."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.form import values
from app.jobs.store import Job
from app.texts import size, word
from trainer.errors import UserError
from trainer.files.roots import Roots
from trainer.messages import Language
from trainer.preflight import check
from trainer.settings import TRAINING, Settings

MEMORY = "training.out_of_memory"
NOT_FINITE = (
    "training.loss_not_finite", "training.loss_not_finite_fp16", "training.gradient_not_finite",
    "training.weights_not_finite",
)  # fmt: skip
LOWER = 1 / 3
"""What the learning rates are multiplied with after the loss has run away."""
RATE_SETTINGS = ("learning_rate", "unet_lr", "text_encoder_lr")
LARGE_DIM = 32
SMALLER_SIDES = (1024, 768, 640, 512, 448, 384)


@dataclass(frozen=True)
class Remedy:
    """One way out."""

    changes: Mapping[str, Any]
    price: str
    """Key of a sentence: remedy.price.…"""
    continues: bool = False
    """Whether a run may go on from its state with these changes."""


def remedies(code: str, setting: str, settings: Settings, roots: Roots | None = None) -> list[Remedy]:
    """Ways out of a failure, the best first; [] where only the person can know. `roots`: as for `check`."""
    if code == MEMORY:
        return list(_less_memory(settings))
    if code in NOT_FINITE:
        return list(_calmer(settings))
    if code == "latents.not_finite":
        return [Remedy({"sdxl_no_half_vae": True}, "again")]
    if setting == "resume" and settings.saving.resume:
        return [Remedy({"resume": ""}, "anew")]
    fixes = [dict(problem.fix or {}) for problem in _problems(settings, code, setting, roots)]
    real = [{key: new for key, new in fix.items() if settings.get(key) != new} for fix in fixes]
    return [Remedy(changes, "again") for changes in real if changes]


def _less_memory(settings: Settings) -> Iterator[Remedy]:
    machine, images, length = settings.machine, settings.images, settings.length
    if not machine.gradient_checkpointing:
        yield Remedy({"gradient_checkpointing": True}, "slower", continues=True)
    if settings.model.sdxl and not machine.fp8_base and machine.mixed_precision != "no":
        yield Remedy({"fp8_base": True}, "nearly", continues=True)
    if machine.mixed_precision == "no" and not machine.base_in_16_bits:
        yield Remedy({"base_in_16_bits": True}, "slower", continues=True)
    if not images.cache_latents:
        faster = {"cache_latents": True, "color_aug": False, "random_crop": False}
        changed = {key: value for key, value in faster.items() if settings.get(key) != value}
        yield Remedy(changed, "nearly" if len(changed) == 1 else "changes", continues=len(changed) == 1)
    if machine.mixed_precision == "no":
        yield Remedy({"mixed_precision": "fp16"}, "nearly", continues=True)
    if length.train_batch_size > 1:
        yield Remedy({"train_batch_size": length.train_batch_size // 2}, "batch")
    if smaller := smaller_resolution(images.max_resolution):
        yield Remedy({"max_resolution": smaller}, "details")
    if settings.network.network_dim > LARGE_DIM:
        yield Remedy({"network_dim": LARGE_DIM}, "holds_less")


def _calmer(settings: Settings) -> Iterator[Remedy]:
    rates = {key: rate for key in RATE_SETTINGS if (rate := settings.get(key))}
    yield Remedy({key: _lower(rate) for key, rate in rates.items()}, "slower_learning")
    if settings.machine.mixed_precision == "fp16":
        yield Remedy({"mixed_precision": "bf16"}, "bf16")
    elif not settings.optimizer.max_grad_norm:
        yield Remedy({"max_grad_norm": 1.0}, "slower_learning")


def _lower(rate: float | tuple[float, ...]) -> float | tuple[float, ...]:
    """One rate, or each of two."""
    if isinstance(rate, tuple):
        return tuple(float(f"{one * LOWER:.2g}") for one in rate)
    return float(f"{rate * LOWER:.2g}")


def smaller_resolution(text: str) -> str:
    """The next smaller "Max resolution" ("768,768" -> "640,640"); "" where it is small already."""
    sides = [int(side) for side in re.findall(r"\d+", text)]
    below = [side for side in SMALLER_SIDES if sides and side < max(sides)]
    if not below:
        return ""
    share = below[0] / max(sides)
    return ",".join(str(max(64, round(side * share) // 64 * 64)) for side in (sides * 2)[:2])


def _problems(settings: Settings, code: str, setting: str, roots: Roots | None) -> list[check.Problem]:
    try:
        found = check.check(settings, roots).problems
    except (UserError, OSError):
        return []
    return [one for one in found if one.blocks and one.fix and (one.code == code or one.setting == setting)]


def remedy_rows(job: Job, code: str, setting: str, language: Language) -> list[dict[str, Any]]:
    """The remedies as the page shows them: title, price, changes of the form, memory needed."""
    try:
        settings = job.folder.settings()
    except UserError:
        return []
    rows = []
    for number, remedy in enumerate(remedies(code, setting, settings, job.store.roots)):
        row = {
            "id": number,
            "title": title(remedy.changes, settings, language),
            "price": word(language, f"remedy.price.{remedy.price}"),
            "changes": {key: values.shown(TRAINING[key], value) for key, value in remedy.changes.items()},
            "key": next(iter(remedy.changes)),
            "continues": remedy.continues,
        }
        needs = memory_needed(settings, remedy.changes, job.store.roots) if code == MEMORY else 0
        rows.append({**row, "needs": needs, "needs_text": size(needs)} if needs else row)
    return rows


def title(changes: Mapping[str, Any], settings: Settings, language: Language) -> str:
    """ "Turn on **Gradient checkpointing**", "**Train batch size** 4 → 2"."""
    return word(language, "remedy.and").join(
        _change_in_words(key, settings.get(key), new, language) for key, new in changes.items()
    )


def _change_in_words(key: str, old: Any, new: Any, language: Language) -> str:
    setting = TRAINING[key]
    label = setting.spec.label
    if isinstance(new, bool):
        return word(language, "remedy.turn_on" if new else "remedy.turn_off", label=label)
    if new in ("", None):
        return word(language, "remedy.clear", label=label)
    before = values.plain(setting, old) or word(language, "jobs_blank")
    return word(language, "remedy.change", label=label, old=before, new=values.plain(setting, new))


def memory_needed(settings: Settings, changes: Mapping[str, Any], roots: Roots | None = None) -> int:
    """Bytes that a run with these changes is expected to use; 0 where it cannot be planned."""
    try:
        plan = check.check(settings.replace(**changes), roots).plan
    except (UserError, OSError, ValueError):
        return 0
    return plan.memory_bytes if plan else 0


def changes_of(job: Job, code: str, setting: str, number: Any) -> dict[str, Any]:
    """Settings that remedy `number` changes, if a run may continue with it; else none."""
    offered = remedies(code, setting, job.folder.settings(), job.store.roots)
    if not isinstance(number, int) or not 0 <= number < len(offered) or not offered[number].continues:
        return {}
    return dict(offered[number].changes)
