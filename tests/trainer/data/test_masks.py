""" "Masked loss": only what the mask shows is learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainer.made import picture
from tests.trainer.runs import short_settings
from trainer.data import pixels
from trainer.data.buckets import BucketRule
from trainer.plan.inputs import read_inputs
from trainer.preflight.check import check
from trainer.training.loss import distance
from trainer.training.prepare import build_data


def left_half(path: Path, size: tuple[int, int] = (64, 64)) -> Path:
    """A mask that shows the left half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    mask.save(path)
    return path


def see_through(path: Path) -> Path:
    """A picture whose right half is transparent."""
    picture(path)
    with Image.open(path) as opaque:
        layer = opaque.convert("RGBA")
    with Image.open(left_half(path.with_suffix(".mask.png"))) as mask:
        layer.putalpha(mask.copy())
    path.with_suffix(".mask.png").unlink()
    layer.save(path)
    return path


def batch_of(folder: Path, **changes):
    settings = short_settings(folder, train_batch_size=1, **changes)
    return build_data(read_inputs(settings), 1)._batch(1, 0)


def test_transparent_parts_are_left_out_and_the_mask_follows_the_mirror(tmp_path):
    see_through(tmp_path / "img" / "1_cat" / "a.png")
    batch = batch_of(tmp_path, train_data_dir=str(tmp_path / "img"), masked_loss=True)
    assert batch.masks is not None
    assert batch.masks.shape == (1, 1, 8, 8)
    assert batch.masks[0, 0, :, :4].min() == 1
    assert batch.masks[0, 0, :, 4:].max() == 0
    flipped = pixels.fitted_mask(
        pixels.load_mask(tmp_path / "img" / "1_cat" / "a.png", see_through=True),
        BucketRule((64, 64)).fit(64, 64),
        8,
        flip=True,
    )
    assert (flipped == batch.masks[0, 0].numpy()[:, ::-1]).all()


def test_a_dataset_files_masks_are_used(tmp_path):
    picture(tmp_path / "img" / "a.png", (128, 64))
    left_half(tmp_path / "masks" / "a.png", (256, 128))
    config = tmp_path / "data.toml"
    text = f'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "{tmp_path / "img"}"\n'
    config.write_text(text + 'conditioning_data_dir = "masks"\nnum_repeats = 1\n', encoding="utf-8")
    batch = batch_of(
        tmp_path, train_data_dir="", dataset_config=str(config), masked_loss=True, max_resolution="128,64"
    )
    assert batch.masks is not None
    assert batch.masks.shape[-2:] == (8, 16)
    assert (batch.masks[0, 0].mean(0) == torch.tensor([1.0] * 8 + [0.0] * 8)).all()
    settings = short_settings(tmp_path, train_data_dir="", dataset_config=str(config), masked_loss=True)
    assert "preflight.no_masks" not in [problem.code for problem in check(settings).problems]


def test_without_masked_loss_everything_is_learned(tmp_path):
    see_through(tmp_path / "img" / "1_cat" / "a.png")
    assert batch_of(tmp_path, train_data_dir=str(tmp_path / "img")).masks is None


def test_an_opaque_picture_is_learned_whole(tmp_path):
    picture(tmp_path / "img" / "1_cat" / "a.png")
    batch = batch_of(tmp_path, train_data_dir=str(tmp_path / "img"), masked_loss=True)
    assert batch.masks is not None
    assert batch.masks.min() == 1


def test_a_mask_is_cropped_where_its_picture_is():
    mask = np.zeros((64, 128), np.uint8)
    mask[:, 64:] = 255
    fit = BucketRule((64, 64), enable=False).fit(128, 64)
    assert pixels.fitted_mask(mask, fit, 8, corner=(0, 0)).max() == 0
    assert pixels.fitted_mask(mask, fit, 8, corner=(64, 0)).min() == 1


@pytest.mark.parametrize("loss_type", ["l2", "l1", "huber"])
def test_what_the_mask_hides_does_not_count_in_the_loss(loss_type):
    prediction, target = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    masks = torch.zeros(2, 1, 8, 8)
    masks[..., :4] = 1
    changed = prediction.clone()
    changed[..., 4:] += 5
    threshold = torch.full((2,), 0.1)
    masked = [distance(one, target, loss_type, threshold, masks) for one in (prediction, changed)]
    assert torch.equal(*masked)
    half = distance(prediction[..., :4], target[..., :4], loss_type, threshold)
    assert masked[0] == pytest.approx(half / 2)  # the mean is taken over all places, as in the reference
