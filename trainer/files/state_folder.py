"""A training state on disk, read like every foreign file: nothing in it is used unchecked. Loads no torch.

A state is a folder: `network.safetensors` (LoRA weights as they are), `optimizer.pt` (optimizer, schedule,
gradient scaler), `random.pt` (random states), `state.json` (position, seed, name, settings and facts).
trainer.training.state writes it and reads the tensors.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.files.paths import is_plain_name
from trainer.files.reading import decoded, parse_json, read_bytes
from trainer.files.safetensors_header import read_header
from trainer.files.torch_file import TensorNote, outline

STATE_FORMAT = 1
NETWORK, OPTIMIZER, RANDOM, ABOUT = "network.safetensors", "optimizer.pt", "random.pt", "state.json"
KEPT = "kept_for"
"""Entry of state.json: what `kept_for` says of the optimizer's file."""
MOST_STATE_BYTES = 20_000_000
"""Of state.json, which names every picture; 100,000 pictures take 8 MB."""
MOST_STATE_VALUES = 2_000_000
"""The same; each picture has some five."""
MOST_RANDOM = 1_000_000
"""Of random.pt, which has 17 kB and a little for each graphics card."""
LARGEST_STEP = 10**9
LARGEST_SEED = 2**32 - 1
MOST_NUMBERS = 1_000_000
"""Of weights that an optimizer keeps count of, over all its groups; SDXL's LoRAs have some thousands."""
NUMPY_KEYS, PYTHON_KEYS, TORCH_BYTES = 624, 625, 5056
"""Numbers in the random states of numpy, Python and torch: each is a Mersenne Twister."""


@dataclass(frozen=True)
class StateAbout:
    """What a state says about itself."""

    folder: Path
    step: int
    """Optimizer steps done."""
    epoch: int
    """The epoch (from 1) and the batch in it (from 0) that come next."""
    batch: int
    seed: int
    name: str
    """The LoRA's name in the run that wrote it; "" where it is not told."""
    settings: Mapping[str, Any]
    """The run's settings, flat; a state of another version may lack some or have others."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else the run noted: versions, pictures, files."""


def read_about(folder: Path) -> StateAbout:
    """The state's own description. Raises UserError for a folder that holds no state of ours."""
    place = folder / ABOUT
    if not place.is_file():
        raise UserError("training.no_state", "resume", path=str(folder))
    try:
        text = decoded(read_bytes(place, MOST_STATE_BYTES), place.name)
        found = parse_json(text, place.name, MOST_STATE_VALUES)
    except UserError as error:
        raise damaged(folder) from error
    number = found.get("format")
    if type(number) is int and number != STATE_FORMAT:
        raise UserError("training.state_version", "resume", path=str(folder), format=number)
    try:
        return _about(folder, found)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(folder) from error


def damaged(folder: Path) -> UserError:
    """That a state cannot be used, in words."""
    return UserError("training.state_damaged", "resume", path=str(folder))


def _about(folder: Path, found: Mapping[str, Any]) -> StateAbout:
    """Raises KeyError, TypeError or ValueError for what no state of ours says."""
    if found["format"] is not STATE_FORMAT:
        raise ValueError("format")
    position, settings, name = found["position"], found.get("settings", {}), found.get("name", "")
    if not (isinstance(position, dict) and isinstance(settings, dict) and isinstance(name, str)):
        raise TypeError("kinds")
    if name and not is_plain_name(name):
        raise ValueError("name")
    if not all(map(_is_plain, settings.values())):
        raise TypeError("settings")
    return StateAbout(
        folder=folder,
        step=_whole(position["step"], 0, LARGEST_STEP),
        epoch=_whole(position["epoch"], 1, LARGEST_STEP),
        batch=_whole(position["batch"], 0, LARGEST_STEP),
        seed=_whole(found["seed"], 0, LARGEST_SEED),
        name=name,
        settings=settings,
        facts={key: value for key, value in found.items() if key not in ("position", "settings")},
    )


def _is_plain(value: Any) -> bool:
    """Whether it is what a setting's value is in JSON: a text, a number, a switch, or a pair of numbers."""
    one = value if isinstance(value, list) and len(value) == 2 else [value]
    return all(isinstance(part, str | int | float | bool | None) for part in one)


def _whole(value: Any, least: int, most: int) -> int:
    """A whole number within limits; True is none."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError("number")
    return value


def check_files(about: StateAbout) -> None:
    """Look at the tensors' files without reading their numbers. Raises UserError for what no run of ours
    writes.
    """
    folder = about.folder
    try:
        if not all((folder / name).is_file() for name in (NETWORK, OPTIMIZER, RANDOM)):
            raise damaged(folder)
        if (folder / RANDOM).stat().st_size > MOST_RANDOM:
            raise damaged(folder)
        read_header(folder / NETWORK)
        kept = outline(folder / OPTIMIZER)
        _check_optimizer(kept, about.step)
        # States of earlier versions do not tell it.
        if about.facts.get(KEPT) not in (None, kept_for(kept["optimizer"]["state"])):
            raise damaged(folder)
        _check_random(outline(folder / RANDOM))
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise damaged(folder) from error


def kept_for(state: Mapping[Any, Mapping[Any, Any]]) -> str:
    """What an optimizer keeps for which weight, in short: names and sizes, of tensors or of their notes.

    Which weights have something is no rule: some optimizers keep nothing, and what had no gradient has none.
    """
    told = {
        str(number): {str(key): [*getattr(value, "shape", ())] for key, value in entries.items()}
        for number, entries in state.items()
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _check_optimizer(kept: Any, step: int) -> None:
    """{"optimizer", "lr_scheduler", "scaler"} of plain values. Raises TypeError, ValueError, LookupError."""
    optimizer, schedule, scaler = kept["optimizer"], kept["lr_scheduler"], kept["scaler"]
    if not all(isinstance(part, dict) for part in (kept, optimizer, schedule, scaler)):
        raise TypeError("parts")
    state, groups = optimizer["state"], optimizer["param_groups"]
    if not (isinstance(state, dict) and isinstance(groups, list)):
        raise TypeError("optimizer")
    if not all(isinstance(entries, dict) for entries in [*state.values(), *groups]):
        raise TypeError("entries")
    if any(isinstance(value, str) for group in groups for key, value in group.items() if key != "name"):
        raise TypeError("options")
    if sum(len(group["params"]) for group in groups) > MOST_NUMBERS:
        raise ValueError("parameters")
    numbers = {number for group in groups for number in group["params"]}
    if any(type(number) is not int for number in [*numbers, *state]) or not set(state) <= numbers:
        raise TypeError("parameters")
    done = schedule["last_epoch"]
    if type(done) is not int or not 0 <= done <= step:
        raise ValueError("schedule")
    if not all(type(value) in (int, float) and 0 <= value < math.inf for value in scaler.values()):
        raise ValueError("scaler")


def _check_random(states: Any) -> None:
    """The random states of a run. Raises TypeError, ValueError, LookupError, AttributeError.

    numpy takes a position beyond its numbers and would read what lies behind them.
    """
    _, internal, gauss = states["python"]
    _, keys, position, has_gauss, cached = states["numpy"]
    whole = all(type(number) is int for number in (position, has_gauss))
    real = type(cached) is float and math.isfinite(cached) and (gauss is None or math.isfinite(gauss))
    if not (whole and real and 0 <= position <= NUMPY_KEYS and has_gauss in (0, 1)):
        raise ValueError("random states")
    bytes_ = all(isinstance(kept, TensorNote) and kept.dtype == "Byte" for kept in states["cuda"])
    if not bytes_ or states["torch"] != TensorNote("Byte", (TORCH_BYTES,)):
        raise TypeError("random states")
    if internal != TensorNote("Long", (PYTHON_KEYS,)) or keys != TensorNote("Long", (NUMPY_KEYS,)):
        raise TypeError("random states")
