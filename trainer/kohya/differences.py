"""Where kohya_ss does something else than its file says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.kohya.ages import Age
from trainer.kohya.fitting import as_number

ZEROS = {
    "learning_rate": "2e-6",
    "max_grad_norm": "1.0",
    "prior_loss_weight": "1.0",
    "lr_scheduler_power": "1",
}
"""Zeros that kohya_ss drops since v24.0, and what sd-scripts then takes."""


@dataclass(frozen=True)
class Case:
    """One key of a file among the others."""

    key: str
    value: Any
    of: Callable[[str], Any]
    """Any setting's value: the file's, else its age's default."""
    age: Age

    def nothing(self, setting: str) -> bool:
        """Whether a setting is 0 or blank."""
        return is_nothing(self.of(setting))

    @property
    def modern(self) -> bool:
        """Of the releases that hand settings over as TOML."""
        return not self.age.before("v24.0")


def is_nothing(value: Any) -> bool:
    """0, blank, or text that says so."""
    if isinstance(value, str):
        return not value.strip() or as_number(value) == 0
    return value is None or (isinstance(value, (int, float)) and value == 0)


def _zero(case: Case) -> str:
    zero = case.modern and not isinstance(case.value, bool) and case.value in (0, "0")
    return "kohya.zero_dropped" if zero else ""


def _epoch(case: Case) -> str:
    by_steps = (
        case.value not in (1, "1")
        and not case.nothing("max_train_steps")
        and case.nothing("max_train_epochs")
    )
    return "kohya.epoch_ignored" if by_steps else ""


def _scheduler(case: Case) -> str:
    if case.value != "constant" or (case.nothing("lr_warmup") and case.nothing("lr_warmup_steps")):
        return ""
    return "kohya.constant_warmup" if case.modern else "kohya.constant_warmup_dropped"


def _adaptive(case: Case) -> str:
    alone = not is_nothing(case.value) and case.nothing("noise_offset")
    return "kohya.adaptive_alone" if alone and case.of("noise_offset_type") != "Multires" else ""


def _adafactor(case: Case) -> str:
    old = case.value == "Adafactor" and case.age.before("v22.2") and not case.nothing("lr_warmup")
    return "kohya.adafactor_warmup" if old else ""


def _lora_plus(case: Case) -> str:
    return "kohya.loraplus_ignored" if case.age.before("v26.0") and not is_nothing(case.value) else ""


def _decompose(case: Case) -> str:
    off = case.value in (False, "False") and case.of("LoRA_type") == "LyCORIS/LoKr"
    return "kohya.decompose_both" if off else ""


def _tucker(case: Case) -> str:
    lost = case.value is True and case.of("LoRA_type") == "LyCORIS/LoKr" and not case.of("use_cp")
    return "kohya.use_tucker" if lost else ""


def _stop(case: Case) -> str:
    return "" if is_nothing(case.value) else "kohya.stop_text_encoder"


def _padding(case: Case) -> str:
    return "kohya.token_padding" if case.value is True else ""


RULES: Mapping[str, Callable[[Case], str]] = {
    **dict.fromkeys(ZEROS, _zero),
    **dict.fromkeys(
        ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio"), _lora_plus
    ),
    "epoch": _epoch,
    "lr_scheduler": _scheduler,
    "adaptive_noise_scale": _adaptive,
    "optimizer": _adafactor,
    "decompose_both": _decompose,
    "use_tucker": _tucker,
    "stop_text_encoder_training": _stop,
    "no_token_padding": _padding,
}


def difference(case: Case) -> dict[str, Any]:
    """`note` and values for the report, or {} where kohya_ss did what its file says."""
    note = RULES[case.key](case) if case.key in RULES else ""
    values = {"used": ZEROS.get(case.key, ""), "steps": case.of("max_train_steps")}
    return {"note": note, **values} if note else {}
