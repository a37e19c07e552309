"""Settings of OneTrainer, LoRA_Easy, ai-toolkit, SimpleTuner, musubi-tuner … told by marks.

What is plainly the same is put into sd-scripts' words and read from there; the rest is listed for a look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from trainer.kohya.beside import Beside
from trainer.kohya.datasets import take_dataset
from trainer.kohya.draft import Draft
from trainer.kohya.foreign import ai_toolkit, civitai, diffusers, lora_easy, musubi, onetrainer, simpletuner
from trainer.kohya.foreign.taken import Flat, Taken
from trainer.kohya.read_sd_scripts import draft_from_options
from trainer.kohya.report import Entry, Imported, Source

MOST_REST = 400
"""Keys without a setting that are listed."""
READERS: Mapping[str, Callable[[Flat], Taken]] = {
    "onetrainer": onetrainer.taken,
    "lora_easy": lora_easy.taken,
    "ai_toolkit": ai_toolkit.taken,
    "simpletuner": simpletuner.taken,
    "musubi": musubi.taken,
    "civitai": civitai.taken,
    "diffusers": diffusers.taken,
}


ONETRAINER = (
    {"training_method", "base_model_name"}, {"model_type", "lora_rank", "concepts"},
    {"__version", "model_type"}, {"learning_rate_scheduler", "model_type"},
)  # fmt: skip
"""Keys that no other program has together; its presets hold only some."""
SIMPLETUNER = {"lora_rank", "lora_type", "lycoris_config", "model_type"}


def program_of(data: Mapping[str, Any]) -> Source | None:
    """Which of these programs a file is from; None for others."""
    data = lora_easy.unwrapped(data)
    keys = {key.lstrip("-") for key in data}
    if any(marks <= keys for marks in ONETRAINER):
        return "onetrainer"
    if keys >= civitai.MARKS:
        return "civitai"
    if musubi.is_of_musubi(data):
        return "musubi"
    if ai_toolkit.whole(data):
        return "ai_toolkit"
    if "data_backend_config" in keys or ("model_family" in keys and keys & SIMPLETUNER):
        return "simpletuner"
    tables = [value for key, value in data.items() if key.endswith("_args") and isinstance(value, Mapping)]
    if any({"args", "dataset_args"} & set(table) for table in tables) or keys >= lora_easy.FIRST_MARKS:
        return "lora_easy"
    return "diffusers" if diffusers.is_of_diffusers(keys) else None


def read_foreign(data: Mapping[str, Any], program: Source, files: Beside) -> Imported:
    """Settings and report of such a file. Raises UserError for folders of pictures that are malformed."""
    return foreign_draft(data, program, files).finish(program)


def foreign_draft(
    data: Mapping[str, Any], program: Source, files: Beside, *, sdxl: bool | None = None
) -> Draft:
    """As `read_foreign`, open for more. `sdxl`: where more than the file says it."""
    data = onetrainer.with_concepts(data, files) if program == "onetrainer" else data
    data = lora_easy.unwrapped((ai_toolkit.whole(data) or data) if program == "ai_toolkit" else data)
    data = musubi.with_datasets(musubi.unwrapped(data), files) if program == "musubi" else data
    flat = {key.lstrip("-"): value for key, value in _leaves(data)}
    taken = READERS[program](flat)
    if program == "lora_easy":
        lora_easy.take_subsets(taken, data)
    elif program == "onetrainer":
        onetrainer.take_concepts(taken, data)
    elif program == "musubi":
        musubi.take_datasets(taken, data)
    only_folders = taken.datasets and not taken.options  # nothing of a training, so nobody's defaults
    sdxl = taken.sdxl if sdxl is None else sdxl
    draft = Draft({}) if only_folders else draft_from_options(taken.options, sdxl=sdxl)
    if taken.prompts:
        draft.entries = [entry for entry in draft.entries if entry.key != "sample_prompts"]
        key, lines = taken.prompts
        draft.take(
            "sample_prompts", "\n".join(lines), key=key, was=flat.get(key), why="kohya.prompts_with_options"
        )
    draft.entries = [_under_own_key(entry, taken, flat) for entry in draft.entries]
    if taken.datasets:
        take_dataset(draft, {"datasets": taken.datasets}, "")
        draft.entries = [
            replace(entry, note="kohya.foreign_folders") if entry.note == "kohya.dataset_pasted" else entry
            for entry in draft.entries
        ]
    if taken.family:
        key, name = taken.family
        draft.add(key, "other_family", name, why="kohya.foreign_family", attention=True)
    for key, value, why in taken.remarks:
        draft.add(key, "unknown", value, why=why, attention=True)
    used = taken.used | ({taken.family[0]} if taken.family else set())
    unread = [
        (key, value) for key, value in flat.items() if key not in used and value not in (None, "", [], {})
    ]
    for key, value in unread[:MOST_REST]:
        draft.add(key, "unknown", value, why="kohya.foreign_key", attention=True)
    return draft


def _under_own_key(entry: Entry, taken: Taken, flat: Flat) -> Entry:
    """An entry for sd-scripts' option under the key that the file has for it, with the file's value."""
    option = entry.key.partition(" ")[0]
    if option not in taken.keys:
        return entry
    key = taken.keys[option]
    was = flat.get(key, entry.was)
    kind = "renamed" if entry.kind == "taken" and str(was) == str(entry.now) else entry.kind
    renamed = replace(entry, key=key, was=was, kind="converted" if kind == "taken" else kind)
    return (
        replace(renamed, note="kohya.first_of_several", attention=True)
        if option in taken.several
        else renamed
    )


def _leaves(data: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value under its path: "train.lr", "datasets[0].folder_path"; short lists whole."""
    if isinstance(data, Mapping) and data:
        for name, value in data.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(data, list) and any(isinstance(item, (Mapping, list)) for item in data):
        for at, value in enumerate(data):
            yield from _leaves(value, f"{key}[{at}]")
    else:
        yield key, data
