"""A dataset file's values count: before the settings, for its own pictures, in the batches learned."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.trainer.made import image_folder
from tests.trainer.runs import events, run, short_settings
from trainer.data.datasets import Dataset, datasets_of, subset_of
from trainer.events import Started, Step
from trainer.files.safetensors_header import read_header
from trainer.plan.inputs import read_inputs
from trainer.settings import Settings
from trainer.training.prepare import build_data

FORM = {
    "max_resolution": "64,64", "train_batch_size": 2, "min_bucket_reso": 32, "bucket_reso_steps": 32,
    "cache_latents": False,
}  # fmt: skip


def toml(*tables: str) -> str:
    return "\n".join(tables)


def subset(folder: Path, **values: Any) -> str:
    lines = [f"image_dir = {json.dumps(str(folder))}", *(f"{key} = {_toml(v)}" for key, v in values.items())]
    return "\n".join(["[[datasets.subsets]]", *lines])


def dataset(**values: Any) -> str:
    return "\n".join(["[[datasets]]", *(f"{key} = {_toml(value)}" for key, value in values.items())])


def general(**values: Any) -> str:
    return "\n".join(["[general]", *(f"{key} = {_toml(value)}" for key, value in values.items())])


def _toml(value: Any) -> str:
    return json.dumps(value)


def settings_with(folder: Path, *tables: str, name: str = "data.toml", **values: Any) -> Settings:
    path = folder / name
    path.write_text(toml(*tables), encoding="utf-8")
    return short_settings(folder, train_data_dir="", dataset_config=str(path), **{**FORM, **values})


def data_of(settings: Settings, seed: int = 1) -> Any:
    return build_data(read_inputs(settings), seed, 10)


def folder_of(root: Path, count: int, size: tuple[int, int] = (64, 64)) -> Path:
    return image_folder(root, count, "pictures", size) / "pictures"


def first(settings: Settings) -> Dataset:
    return datasets_of(settings)[0]


DATASET_VALUES: dict[str, tuple[Any, Any]] = {
    "resolution": (96, "96"), "batch_size": (5, 5), "enable_bucket": (False, False),
    "min_bucket_reso": (64, 64), "max_bucket_reso": (512, 512), "bucket_reso_steps": (8, 8),
    "bucket_no_upscale": (False, False), "prior_loss_weight": (0.25, 0.25),
}  # fmt: skip
SETTING = {"resolution": "max_resolution", "batch_size": "train_batch_size"}
SUBSET_VALUES: dict[str, Any] = {
    "shuffle_caption": True, "keep_tokens": 3, "caption_dropout_rate": 0.5,
    "caption_dropout_every_n_epochs": 4, "flip_aug": True, "color_aug": True, "random_crop": True,
    "caption_prefix": "best,", "caption_suffix": ", end", "keep_tokens_separator": "|||",
    "secondary_separator": ";;;", "caption_separator": "/", "enable_wildcard": True,
    "caption_tag_dropout_rate": 0.1, "token_warmup_step": 4, "alpha_mask": True,
}  # fmt: skip


@pytest.mark.parametrize("where", ["general", "datasets"])
@pytest.mark.parametrize("key", DATASET_VALUES)
def test_sizes_and_batch_size_of_the_file_go_before_the_form(tmp_path, key, where):
    value, wanted = DATASET_VALUES[key]
    above = [general(**{key: value}), dataset()] if where == "general" else [dataset(**{key: value})]
    settings = settings_with(tmp_path, *above, subset(folder_of(tmp_path, 1)))
    assert first(settings).settings[str(SETTING.get(key, key))] == wanted


@pytest.mark.parametrize("where", ["general", "datasets", "subsets"])
@pytest.mark.parametrize("key", SUBSET_VALUES)
def test_captions_and_changes_of_the_file_go_before_the_form(tmp_path, key, where):
    own = {key: SUBSET_VALUES[key]}
    pictures = folder_of(tmp_path, 1)
    settings = settings_with(
        tmp_path,
        general(**own) if where == "general" else "",
        dataset(**(own if where == "datasets" else {})),
        subset(pictures, **(own if where == "subsets" else {})),
    )
    found = first(settings).subsets[0].in_effect
    assert found == own


def test_the_value_further_in_wins_and_the_form_says_the_rest(tmp_path):
    pictures = folder_of(tmp_path, 1)
    settings = settings_with(
        tmp_path,
        general(keep_tokens=1, shuffle_caption=False),
        dataset(keep_tokens=2),
        subset(pictures, keep_tokens=3),
        subset(tmp_path),
        dataset(),
        subset(pictures),
        shuffle_caption=True,
        flip_aug=True,
        caption_dropout_rate=0.5,
    )
    rules = [one for dataset in datasets_of(settings) for one in dataset.subsets]
    assert [rule.captions.keep_tokens for rule in rules] == [3, 2, 1]
    assert not any(rule.captions.shuffle for rule in rules)
    assert all(rule.flip_aug and rule.captions.dropout_rate == 0.5 for rule in rules)


def test_several_resolutions_in_one_run(tmp_path):
    """The same pictures at three sizes: batches of one size each, every picture as often as it repeats."""
    pictures = folder_of(tmp_path, 5, (200, 200))
    sizes = {64: 2, 96: 3, 128: 1}
    tables = [
        part
        for size, batch in sizes.items()
        for part in (dataset(resolution=size, batch_size=batch), subset(pictures, num_repeats=3))
    ]
    settings = settings_with(tmp_path, *tables)
    data = data_of(settings)
    batches = [data._batch(1, number) for number in range(len(data.order(1)))]
    seen: Counter[tuple[int, str]] = Counter()
    for batch in batches:
        size = batch.pixels.shape[-1]
        assert len(batch.images) <= sizes[size]
        seen.update((size, data.images[index].path.name) for index in batch.images)
    assert seen == {(size, f"{number}.png"): 3 for size in sizes for number in range(5)}
    assert [len(batch.images) for batch in batches].count(3) == 5, "15 pictures in batches of 3"
    assert len(batches) == 8 + 5 + 15
    order = [batch.pixels.shape[-1] for batch in batches]
    assert order != sorted(order), "the batches of all datasets are mixed"
    plan = read_inputs(settings).plan()
    assert plan.batches_per_epoch == len(batches)
    assert plan.images == 5
    assert plan.formula.startswith("(5 × 3 ÷ 2 + 5 × 3 ÷ 3 + 5 × 3) ×")


def test_all_chance_follows_from_seed_epoch_and_batch(tmp_path):
    pictures = folder_of(tmp_path, 6)
    everything = {key: value for key, value in SUBSET_VALUES.items() if key != "alpha_mask"}
    settings = settings_with(
        tmp_path, dataset(resolution=64), subset(pictures, **everything), dataset(resolution=96),
        subset(pictures),
    )  # fmt: skip
    one, two, other = data_of(settings), data_of(settings), data_of(settings, seed=2)
    two._batch(3, 0)
    for number in (1, 0):
        left, right = one._batch(2, number), two._batch(2, number)
        assert (left.captions, left.images, left.flipped) == (right.captions, right.images, right.flipped)
        assert torch.equal(left.pixels, right.pixels)
    assert one.order(2) != other.order(2)


def test_a_file_that_says_what_the_form_said_changes_nothing(tmp_path):
    """The same order, captions, flips and pixels as with the Image folder, bit for bit."""
    root = image_folder(tmp_path / "img", 5, "3_sks cat", (96, 64))
    image_folder(tmp_path / "reg", 2, "1_cat", (64, 96))
    chances = {"shuffle_caption": True, "flip_aug": True, "color_aug": True, "caption_dropout_rate": 0.3}
    form = short_settings(
        tmp_path, train_data_dir=str(root), reg_data_dir=str(tmp_path / "reg"), **FORM, **chances
    )
    file = settings_with(
        tmp_path,
        general(**chances),
        dataset(resolution=[64, 64], batch_size=2, enable_bucket=True),
        subset(root / "3_sks cat", num_repeats=3, class_tokens="sks cat"),
        subset(tmp_path / "reg" / "1_cat", is_reg=True, class_tokens="cat"),
        train_batch_size=7,
        max_resolution="512",
    )
    one, two = data_of(form), data_of(file)
    assert [one.order(epoch) for epoch in (1, 2)] == [two.order(epoch) for epoch in (1, 2)]
    for number in range(3):
        left, right = one._batch(1, number), two._batch(1, number)
        assert (left.captions, left.flipped) == (right.captions, right.flipped)
        assert torch.equal(left.pixels, right.pixels)
        assert torch.equal(left.loss_weights, right.loss_weights)


def test_each_subset_has_its_own_captions_and_changes(tmp_path):
    plain, changed = folder_of(tmp_path / "a", 4), folder_of(tmp_path / "b", 4)
    settings = settings_with(
        tmp_path,
        dataset(resolution=64, batch_size=8),
        subset(plain),
        subset(
            changed, caption_prefix="p,", caption_dropout_every_n_epochs=2, flip_aug=True, alpha_mask=True
        ),
    )
    data = data_of(settings)
    for epoch in (1, 2):
        batch = data._batch(epoch, 0)
        for at, index in enumerate(batch.images):
            is_changed = subset_of(data.datasets, data.images[index]).flip_aug
            assert is_changed == (data.images[index].path.parent == changed)
            wanted = "p, " * is_changed + data.images[index].caption
            assert batch.captions[at] == ("" if is_changed and epoch == 2 else wanted)
            assert is_changed or not batch.flipped[at]
    assert any(flip for epoch in range(1, 9) for flip in data._batch(epoch, 0).flipped)


def test_only_masked_subsets_are_masked(tmp_path):
    plain, masked = folder_of(tmp_path / "a", 2), tmp_path / "b"
    masked.mkdir()
    for number in range(2):
        Image.new("RGBA", (64, 64), (1, 2, 3, 0)).save(masked / f"{number}.png")
    settings = settings_with(
        tmp_path, dataset(batch_size=4), subset(plain), subset(masked, alpha_mask=True), flip_aug=True
    )
    batch = data_of(settings)._batch(1, 0)
    parents = [data_of(settings).images[index].path.parent for index in batch.images]
    assert [float(mask.mean()) for mask in batch.masks] == [float(parent == plain) for parent in parents]
    off = settings_with(
        tmp_path, dataset(batch_size=4), subset(plain), subset(masked, alpha_mask=False), masked_loss=True
    )
    batch = data_of(off)._batch(1, 0)
    assert batch.masks is None or float(batch.masks.min()) == 1, "the file's false goes before Masked loss"


def test_regularisation_pictures_match_their_own_dataset(tmp_path):
    pictures, reg = folder_of(tmp_path / "a", 4), folder_of(tmp_path / "r", 3)
    settings = settings_with(
        tmp_path,
        dataset(resolution=64), subset(pictures, num_repeats=2), subset(reg, is_reg=True),
        dataset(resolution=96), subset(pictures, num_repeats=1),
    )  # fmt: skip
    data = data_of(settings)
    counts = Counter((image.subset[0], image.is_reg) for image in data.images for _ in range(image.repeats))
    assert counts == {(0, False): 8, (0, True): 8, (1, False): 4}


def test_lines_and_words_are_taken_by_chance_where_the_file_says_so(tmp_path):
    pictures = folder_of(tmp_path, 1)
    (pictures / "0.txt").write_text("a {red|blue} cat\n\n  a dog \n", encoding="utf-8")
    on, off = (
        data_of(settings_with(tmp_path, dataset(), subset(pictures, enable_wildcard=chance)))
        for chance in (True, False)
    )
    assert {on._batch(epoch, 0).captions[0] for epoch in range(1, 40)} == {"a red cat", "a blue cat", "a dog"}
    assert off._batch(1, 0).captions == ("a {red|blue} cat",)


def test_captions_grow_over_the_steps(tmp_path):
    pictures = folder_of(tmp_path, 4)
    for path in pictures.glob("*.txt"):
        path.write_text("a, b, c, d, e", encoding="utf-8")
    settings = settings_with(
        tmp_path, dataset(batch_size=1), subset(pictures, token_warmup_min=1, token_warmup_step=4)
    )
    data = data_of(settings)
    parts = [len(data._batch(1, number).captions[0].split(",")) for number in range(4)]
    assert parts == [1, 2, 3, 4]
    assert len(data._batch(2, 0).captions[0].split(",")) == 5


def test_json_is_read_like_toml(tmp_path):
    pictures = folder_of(tmp_path, 1)
    text = json.dumps({"datasets": [{"resolution": 96, "subsets": [{"image_dir": str(pictures)}]}]})
    settings = settings_with(tmp_path, text, name="data.json")
    assert first(settings).settings["max_resolution"] == "96"
    assert len(read_inputs(settings).pictures.images) == 1


def test_a_run_with_two_resolutions(tmp_path):
    """Trained, counted and told in the file as sd-scripts tells it."""
    pictures = folder_of(tmp_path, 3, (128, 128))
    settings = settings_with(
        tmp_path,
        general(flip_aug=True, caption_extension=".txt"),
        dataset(resolution=64, batch_size=2), subset(pictures, num_repeats=2, shuffle_caption=True),
        dataset(resolution=96, batch_size=1), subset(pictures, flip_aug=False, class_tokens="cat"),
        cache_latents=True,
        max_train_steps=0,
        max_train_epochs=1,
    )  # fmt: skip
    job, code = run(tmp_path, **settings.flat())
    told = events(job)
    assert code == 0, told[-1]
    assert sum(isinstance(event, Step) for event in told) == 3 + 3
    plan = next(event.plan for event in told if isinstance(event, Started))
    assert [(one["width"], one["batch_size"]) for one in plan["datasets"]] == [(64, 2), (96, 1)]
    metadata = read_header(tmp_path / "out" / "mascot.safetensors").metadata
    datasets = json.loads(metadata["ss_datasets"])
    assert [one["resolution"] for one in datasets] == [[64, 64], [96, 96]]
    assert [one["batch_size_per_device"] for one in datasets] == [2, 1]
    assert [one["subsets"][0]["flip_aug"] for one in datasets] == [True, False]
    assert [one["subsets"][0]["num_repeats"] for one in datasets] == [2, 1]
    assert not {"ss_resolution", "ss_flip_aug", "ss_batch_size_per_device"} & set(metadata)
    assert json.loads(metadata["ss_dataset_dirs"]) == {
        "pictures": {"n_repeats": 2, "img_count": 3}, "pictures (2)": {"n_repeats": 1, "img_count": 3}
    }  # fmt: skip
