"""Options typed under "Additional parameters" that have a field of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.errors import UserError
from trainer.kohya import schedule_options
from trainer.kohya.command import options, split_command, text_of
from trainer.kohya.draft import Draft
from trainer.kohya.read_sd_scripts import NO_EFFECT, draft_from_options

FREE_TEXT = "additional_parameters"
STAY = {
    "network_module", "network_args", "unet_lr", "text_encoder_lr", "dataset_config", "sample_prompts",
    *schedule_options.ARGUMENT_OF,
}  # fmt: skip
"""Options that depend on others: they stay where they were typed."""


def move_options(draft: Draft) -> None:
    """Give each known option to its field, as it would have had the last word there.

    Options without any effect on the result (a log's prefix) are set aside and written back on saving.
    """
    text = draft.get(FREE_TEXT)
    try:
        typed, loose = options(split_command(text))
    except UserError:
        return
    if loose or not typed:
        return
    moved = _move(draft, typed)
    harmless = {name for name in typed if name in NO_EFFECT}
    if not moved | harmless:
        return
    remaining = text_of({name: value for name, value in typed.items() if name not in moved | harmless})
    saved = text_of({name: value for name, value in typed.items() if name not in moved})
    names = ", ".join(f"--{name}" for name in typed if name in moved | harmless)
    draft.forget(FREE_TEXT)
    draft.take(FREE_TEXT, remaining, was=text, why="kohya.options_moved", names=names)
    if harmless:
        draft.replaced(FREE_TEXT, saved, remaining)


def _move(draft: Draft, typed: Mapping[str, Any]) -> set[str]:
    moved = set()
    for entry in draft_from_options(typed).entries:
        if entry.key in typed and entry.key not in STAY and entry.setting and not entry.attention:
            _set(draft, entry.setting, entry.now, entry.key, entry.was)
            moved.add(entry.key)
    if typed.get("network_train_unet_only") is True:
        _set(draft, "text_encoder_lr", 0, "network_train_unet_only", True)
        moved.add("network_train_unet_only")
    return moved | _move_schedule_options(draft, typed)


def _move_schedule_options(draft: Draft, typed: Mapping[str, Any]) -> set[str]:
    """Those that the chosen schedule listens to become its extra arguments."""
    mine = [name for name in schedule_options.ARGUMENT_OF if typed.get(name) is not None]
    mine = [name for name in mine if schedule_options.schedule_takes(draft.get("lr_scheduler"), name)]
    for name in mine:
        text = schedule_options.with_argument(draft.get("lr_scheduler_args"), name, typed[name])
        _set(draft, "lr_scheduler_args", text, name, typed[name])
    return set(mine)


def _set(draft: Draft, setting: str, value: Any, option: str, was: Any) -> None:
    """Overwrite what the file's own key said; its entry stays, so that no key is unaccounted for."""
    key = draft.forget(setting) or f"{FREE_TEXT} --{option}"
    draft.take(setting, value, key=key, was=was, why="kohya.from_text", option=option)
