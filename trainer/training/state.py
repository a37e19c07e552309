"""The training state: what is needed to continue a run as if it had never stopped.

A state is a folder: `network.safetensors` (LoRA weights, float32), `optimizer.pt` (optimizer, gradient
scaler), `random.pt` (random states), `state.json` (position, settings, versions). It is written beside its
final place and moved there whole. The base model is not in it.
"""

from __future__ import annotations

import io
import json
import random
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save

from trainer.errors import UserError
from trainer.files.job_folder import state_places
from trainer.files.whole_file import partial_of, write_whole
from trainer.training.position import Position

FORMAT = 1


def random_states() -> dict[str, Any]:
    """Every random state that a run draws from: torch's (CPU and GPUs), Python's and numpy's."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002  # libraries draw from it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": [version, torch.tensor(internal, dtype=torch.int64), gauss],
        "numpy": [
            name,
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            position,
            has_gauss,
            cached,
        ],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Undo `random_states()`."""
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002  # as above


def save_state(
    folder: Path,
    position: Position,
    *,
    network: dict[str, torch.Tensor],
    optimizer: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    """Write a state folder whole; an older one of the same name is replaced.

    `network`: parameters by name; `optimizer`: what optimizer, schedule and scaler want to keep; `facts`:
    JSON, compared when the run continues (settings, versions, pictures). Raises OSError.
    """
    partial = partial_of(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    about = {"format": FORMAT, "position": asdict(position), **facts}
    try:
        write_whole(partial / "network.safetensors", save(network))
        write_whole(partial / "optimizer.pt", _saved(optimizer))
        write_whole(partial / "random.pt", _saved(random_states()))
        write_whole(partial / "state.json", json.dumps(about, ensure_ascii=False, indent=1).encode())
        _replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _saved(content: dict[str, Any]) -> memoryview:
    """As torch saves it. Into memory first: torch tells of a full disk as a RuntimeError."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def _replace_folder(new: Path, place: Path) -> None:
    """Put a finished folder in its place; at any moment `find_state` finds the old or the new one."""
    _, old = state_places(place)
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def read_about(folder: Path) -> dict[str, Any]:
    """The state's own description. Raises UserError for a folder that holds no state of ours."""
    try:
        about = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise UserError("training.state_version", "resume", path=str(folder), format=about["format"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError("training.no_state", "resume", path=str(folder)) from error
    return about


def load_state(folder: Path) -> tuple[Position, dict[str, torch.Tensor], dict[str, Any], dict[str, Any]]:
    """Position, network, optimizer and random states of a state folder; nothing in it is ever executed."""
    about = read_about(folder)
    try:
        return (
            Position(**about["position"]),
            load_file(folder / "network.safetensors"),
            torch.load(folder / "optimizer.pt", weights_only=True, map_location="cpu"),
            torch.load(folder / "random.pt", weights_only=True, map_location="cpu"),
        )
    except Exception as error:
        raise UserError("training.state_damaged", "resume", path=str(folder)) from error
