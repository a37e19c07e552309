"""Pictures kept back from training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.folders import TrainImage
from trainer.data.held_out import hold_out


def pictures(sizes: list[int], repeats: int = 3) -> list[TrainImage]:
    return [
        TrainImage(Path(f"{folder}/{number}.png"), str(folder), repeats, "", "", False, 64, 64)
        for folder, size in enumerate(sizes)
        for number in range(size)
    ]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.floats(0.01, 0.5), st.integers(0, 2**32 - 1))
def test_every_picture_has_one_use_and_no_folder_is_emptied(sizes: list[int], share: float, seed: int):
    images = pictures(sizes)
    learned, held = hold_out(images, share, seed)
    assert sorted({*learned, *held}, key=str) == sorted(images, key=str)
    assert not set(learned) & set(held)
    assert {image.folder for image in learned} == {image.folder for image in images}
    wanted = max(1, round(share * len(images)))
    assert len(held) <= wanted
    if max(sizes) - 1 >= wanted:
        assert len(held) == wanted or min(sizes) < 3


def test_larger_folders_give_more():
    held = hold_out(pictures([40, 10]), 0.2, 1).held_out
    assert [sum(image.folder == name for image in held) for name in "01"] == [8, 2]


def test_the_seed_chooses_whatever_the_order():
    images = pictures([20])
    assert set(hold_out(images, 0.2, 1).held_out) == set(hold_out(images[::-1], 0.2, 1).held_out)
    assert len({frozenset(hold_out(images, 0.2, seed).held_out) for seed in range(20)}) > 10


def test_a_picture_more_changes_little_of_the_choice():
    before, after = (set(hold_out(pictures([size]), 0.2, 5).held_out) for size in (20, 21))
    assert len(before & after) >= len(before) - 1


def test_a_file_in_two_datasets_is_kept_back_from_both():
    images = pictures([4])
    twice = [*images, *(replace(image, subset=(1, 0)) for image in images)]
    learned, held = hold_out(twice, 0.25, 3)
    assert len(held) == 1
    assert held[0].path not in {image.path for image in learned}
    assert len(learned) == 6


@pytest.mark.parametrize("share", [0, 0.0])
def test_nothing_is_kept_back_by_default(share: float):
    images = pictures([12, 3])
    assert hold_out(images, share, 1) == (tuple(images), ())
