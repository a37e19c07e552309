"""Buckets equal the recorded ones; batches hold every picture as often as it repeats."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.buckets import BucketRule, epoch_batches, epoch_rng, limits, make_buckets, resolution, share

RECORDED = json.loads((Path(__file__).parents[2] / "data/references/buckets.json").read_text())
SIZES = st.integers(1, 20_000)


def rule_of(values: list) -> BucketRule:
    width, height, low, high, step, no_upscale = values
    return BucketRule((width, height), True, low, high, step, no_upscale)


@pytest.mark.parametrize("combo", RECORDED["combos"], ids=lambda combo: "-".join(map(str, combo["rule"])))
def test_buckets_and_sizes_equal_the_reference(combo):
    rule = rule_of(combo["rule"])
    if combo["sizes"] is not None:
        assert rule.sizes == [tuple(size) for size in combo["sizes"]]
    for width, height, *expected in combo["fits"]:
        fit = rule.fit(width, height)
        assert [*fit.bucket, *fit.resized] == expected, (width, height)


@pytest.mark.parametrize("combo", [c for c in RECORDED["combos"] if c["reference_fails"]])
def test_sizes_on_which_the_reference_fails_get_a_bucket(combo):
    rule = rule_of(combo["rule"])
    for width, height in combo["reference_fails"]:
        fit = rule.fit(width, height)
        assert min(fit.bucket) >= rule.step
        assert fit.resized[0] >= fit.bucket[0]
        assert fit.resized[1] >= fit.bucket[1]


@pytest.mark.parametrize(("low", "high", "step", "expected"), RECORDED["limits"])
def test_limits_become_multiples_of_the_step(low, high, step, expected):
    assert list(limits(low, high, step)) == expected


@given(
    width=SIZES,
    height=SIZES,
    enable=st.booleans(),
    no_upscale=st.booleans(),
    step=st.sampled_from([8, 32, 64]),
)
def test_any_picture_covers_its_bucket(width, height, enable, no_upscale, step):
    rule = BucketRule((512, 640), enable, 256, 1024, step, no_upscale)
    fit = rule.fit(width, height)
    assert min(fit.spare) >= 0
    assert all(side % step == 0 and side > 0 for side in fit.bucket)
    assert fit.bucket[0] * fit.bucket[1] <= 512 * 640 * 1.6


def test_without_buckets_everything_keeps_its_aspect_and_gets_one_size():
    rule = BucketRule((512, 512), enable=False)
    fit = rule.fit(1536, 1024)
    assert (fit.resized, fit.bucket, fit.center) == ((768, 512), (512, 512), (128, 0))


def test_without_enlarging_small_pictures_keep_their_size():
    fit = BucketRule((512, 512), no_upscale=True).fit(300, 200)
    assert (fit.resized, fit.bucket) == ((300, 200), (256, 192))


def test_steps_of_64_cut_500_pixels_to_448():
    """The guide's own example."""
    assert BucketRule((512, 512), no_upscale=True).fit(500, 500).bucket == (448, 448)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", (512, 512)),
        ("512,768", (512, 768)),
        (" 512 , 768 ", (512, 768)),
        ("512x768", (512, 768)),
        ("５１２、７６８", (512, 768)),  # as a Japanese keyboard writes it
    ],
)
def test_max_resolution_is_read(text, size):
    assert resolution(text) == size


@pytest.mark.parametrize("text", ["", "big", "512,512,512", "0,512", "-64", "512;512"])
def test_other_texts_are_no_resolution(text):
    with pytest.raises(ValueError):  # noqa: PT011  # int() has words of its own
        resolution(text)


def test_buckets_hold_no_more_pixels_than_the_resolution():
    assert all(width * height <= 512 * 512 for width, height in make_buckets((512, 512), 256, 1024, 64))


@given(st.lists(st.lists(st.integers(1, 5), max_size=6), max_size=4), st.integers(1, 5), st.integers())
def test_every_picture_comes_once_per_repeat(repeats, batch_size, seed):
    buckets, index = [], 0
    wanted: Counter[int] = Counter()
    for bucket in repeats:
        members = []
        for times in bucket:
            members += [index] * times
            wanted[index] = times
            index += 1
        buckets.append(members)
    batches = epoch_batches([(bucket, batch_size) for bucket in buckets], random.Random(seed))
    assert Counter(index for batch in batches for index in batch) == wanted
    assert len(batches) == sum(-(-len(bucket) // batch_size) for bucket in buckets)
    home = {index: number for number, bucket in enumerate(buckets) for index in bucket}
    assert all(len({home[index] for index in batch}) == 1 for batch in batches)


def test_order_follows_from_seed_and_epoch_alone():
    def order(seed: int, epoch: int) -> list:
        return epoch_batches([(range(20), 3), (range(20, 30), 3)], epoch_rng(seed, epoch))

    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2)
    assert order(1, 1) != order(2, 1)


def test_order_is_mixed_within_buckets_and_over_them():
    batches = epoch_batches([(range(20), 1), (range(20, 40), 1)], random.Random(0))
    order = [batch[0] for batch in batches]
    assert [index for index in order if index < 20] != [*range(20)]
    assert order != sorted(order, key=lambda index: index >= 20)


def test_processes_share_the_batches_of_a_step():
    batches = [(0,), (1,), (2,), (3,), (4,)]
    assert [share(batches, rank, 2) for rank in range(2)] == [[(0,), (2,), (4,)], [(1,), (3,)]]
