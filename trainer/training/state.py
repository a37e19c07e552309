"""The training state: what is needed to continue a run as if it had never stopped.

Its files are told in trainer.files.state_folder. It is written beside its final place and moved there whole.
The base model is not in it.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import shutil
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from trainer.files.job_folder import state_places
from trainer.files.state_folder import (
    ABOUT,
    NETWORK,
    OPTIMIZER,
    RANDOM,
    STATE_FORMAT,
    check_files,
    damaged,
    read_about,
)
from trainer.files.whole_file import partial_of, patiently, write_whole
from trainer.training.position import Position


def random_states() -> dict[str, Any]:
    """Every random state that a run draws from: torch's (CPU and GPUs), Python's and numpy's."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002  # libraries draw from it
    return {
        # Lists and tensors only, so that it is read back without executing anything.
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
        # For as many cards as there were; each batch seeds them anew anyway.
        torch.cuda.set_rng_state_all(states["cuda"])
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002  # as above


def save_state(
    folder: Path,
    position: Position,
    *,
    network: dict[str, Tensor],
    optimizer: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    """Write a state folder whole; an older one of the same name is replaced.

    `network`: parameters by name; `optimizer`: what optimizer, schedule and scaler want to keep; `facts`:
    JSON, compared when the run continues (settings, versions, pictures). Raises OSError.
    """
    partial = partial_of(folder)
    shutil.rmtree(partial, ignore_errors=True)
    # Beside the place, on the same disk: the last move is a rename.
    partial.mkdir(parents=True)
    about = {"format": STATE_FORMAT, "position": asdict(position), **facts}
    try:
        write_whole(partial / NETWORK, save(on_cpu(network)))
        write_whole(partial / OPTIMIZER, _saved(on_cpu(optimizer)))
        write_whole(partial / RANDOM, _saved(random_states()))
        # Last: a folder with it is whole.
        write_whole(partial / ABOUT, json.dumps(about, ensure_ascii=False, indent=1).encode())
        _replace_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def on_cpu(content: Any) -> Any:
    """The same with its tensors on the CPU: a state is read there, whatever machine goes on with it."""
    if isinstance(content, Tensor):
        return content.detach().cpu()
    if isinstance(content, dict):
        return {key: on_cpu(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(map(on_cpu, content))
    return content


def _saved(content: dict[str, Any]) -> memoryview:
    """As torch saves it. Into memory first: torch tells of a full disk as a RuntimeError."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def _replace_folder(new: Path, place: Path) -> None:
    """Put a finished folder in its place; at any moment `find_state` finds the old or the new one."""
    _, old = state_places(place)
    if (place / ABOUT).is_file():
        shutil.rmtree(old, ignore_errors=True)
        # Virus scanners and indexers hold new files for a moment on Windows.
        patiently(lambda: place.rename(old))
    else:  # what may stand there is no state, and the old one is all there is
        shutil.rmtree(place, ignore_errors=True)
    patiently(lambda: new.rename(place))
    shutil.rmtree(old, ignore_errors=True)


def load_state(
    folder: Path, most_bytes: int | None = None
) -> tuple[Position, dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Position, network (any shapes), optimizer and random states of a folder; nothing in it is executed.

    `most_bytes` is how large the optimizer's file may be. Raises UserError for a state that is missing, of
    another version, or not as `save_state` writes it.
    """
    about = read_about(folder)
    check_files(about)
    # Before it is read: a small file can ask for any amount of memory.
    if most_bytes is not None and (folder / OPTIMIZER).stat().st_size > most_bytes:
        raise damaged(folder)
    try:
        network = _checked_network(load_file(folder / NETWORK))
        optimizer = _loaded(folder / OPTIMIZER)
        random_ = _loaded(folder / RANDOM)
    except READING as error:
        raise damaged(folder) from error
    return Position(about.step, about.epoch, about.batch), network, optimizer, random_


READING = (
    OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, EOFError, OverflowError,
    ArithmeticError, AssertionError, RecursionError, SafetensorError, pickle.UnpicklingError,
)  # fmt: skip
"""What reading and using a file of a stranger may end in."""


def _loaded(path: Path) -> Any:
    """What torch.save wrote, once `check_files` has looked at it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd pickles, which are refused
        return torch.load(path, weights_only=True, map_location="cpu")


def _checked_network(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights, of any shape, are fractions. Raises TypeError."""
    if not all(tensor.is_floating_point() for tensor in tensors.values()):
        raise TypeError("weights")
    return tensors
