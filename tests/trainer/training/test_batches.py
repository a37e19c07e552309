"""The next batch is read while the one before it is learned from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.made import image_folder
from tests.trainer.runs import short_settings
from trainer.errors import UserError
from trainer.plan.inputs import read_inputs
from trainer.training.batches import TrainingData, read_ahead
from trainer.training.position import Position, groups_from
from trainer.training.prepare import build_data

LONG = 600.0
"""Seconds after which what is waited for does not happen."""


def numbers(count: int, reading: list[threading.Event]) -> Iterator[int]:
    for number in range(count):
        reading[number].set()
        yield number


def test_one_is_read_ahead_and_no_more() -> None:
    reading = [threading.Event() for _ in range(5)]
    ahead = read_ahead(numbers(5, reading))
    for number in range(5):
        assert next(ahead) == number
        if number < 4:
            assert reading[number + 1].wait(LONG)
        assert not any(event.is_set() for event in reading[number + 2 :])
    assert list(ahead) == []


def test_what_fails_in_reading_fails_where_it_is_used() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    ahead = read_ahead(failing())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)


def data(folder: Path, **changes: Any) -> TrainingData:
    settings = short_settings(
        folder, train_data_dir=str(folder / "img"), cache_latents=False, train_batch_size=1, **changes
    )
    return build_data(read_inputs(settings), 7)


def test_its_own_thread_may_be_the_one_that_lets_go_of_it() -> None:
    """Whoever collects garbage does: an error there would only be seen as a warning."""
    begun, over = threading.Event(), threading.Event()
    held: list[Iterator[int]] = []

    def letting_go() -> Iterator[int]:
        yield from (0, 1)
        begun.wait()
        held.clear()
        over.set()

    held.append(read_ahead(letting_go()))
    assert [next(held[0]), next(held[0])] == [0, 1]
    begun.set()
    assert over.wait(60)


def test_pictures_read_ahead_are_those_that_workers_read(tmp_path: Path) -> None:
    image_folder(tmp_path / "img", 3)
    both = []
    for workers in (0, 1):
        made = data(tmp_path, flip_aug=True, random_crop=True, max_data_loader_n_workers=workers)
        found = made.loaded(groups_from(Position(), 3, 2, 4))
        both.append([batch for _, batches in found for batch in batches])
    assert len(both[0]) == len(both[1]) == 6
    for ours, theirs in zip(*both, strict=True):
        assert (ours.images, ours.captions, ours.flipped) == (theirs.images, theirs.captions, theirs.flipped)
        assert ours.pixels is not None
        assert theirs.pixels is not None
        assert torch.equal(ours.pixels, theirs.pixels)


def test_a_picture_that_is_gone_is_told_when_its_batch_comes(tmp_path: Path) -> None:
    image_folder(tmp_path / "img", 3, "1_sks cat")
    made = data(tmp_path)
    order = [indices[0] for indices in made.order(1)]
    made.images[order[1]].path.unlink()
    loaded = made.loaded(groups_from(Position(), 3, 1, 3))
    _, [first] = next(loaded)
    assert first.images == (order[0],)
    with pytest.raises(UserError) as told:
        next(loaded)
    assert told.value.message.code == "pictures.unreadable"
