"""The plan: exact steps, warm-up, files and samples; disk and memory follow the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.folders import TrainImage
from trainer.messages import say
from trainer.plan.run import Plan, build_plan
from trainer.plan.saves import free_name
from trainer.settings import Settings
from trainer.training.position import Position, groups_from


def pictures(
    count: int, repeats: int = 10, size: tuple[int, int] = (512, 512), **facts: Any
) -> list[TrainImage]:
    name = f"{repeats}_cat"
    return [
        TrainImage(Path(f"{n}.png"), name, repeats, "cat", "cat", False, *size, **facts) for n in range(count)
    ]


def plan(images: list[TrainImage] | None = None, reg: list[TrainImage] | None = None, **values: Any) -> Plan:
    return build_plan(Settings.from_flat(values), images or pictures(5), reg or [])


def test_the_guides_sum():
    """50 pictures × 10 × 2 epochs = 1000 steps; a warm-up of 10 % is 100 steps."""
    found = plan(pictures(50), epoch=2)
    assert (found.total_steps, found.epochs, found.warmup_steps) == (1000, 2, 100)
    assert found.formula == "50 × 10 × 2"
    assert found.is_plain_sum
    assert str(say(found.said_length())) == "50 × 10 × 2 = 1,000 steps"


def test_batch_size_and_accumulation_divide_the_steps():
    found = plan(pictures(24), epoch=10, train_batch_size=2)
    assert (found.total_steps, found.formula) == (1200, "24 × 10 ÷ 2 × 10")
    found = plan(pictures(24), epoch=10, train_batch_size=2, gradient_accumulation_steps=4)
    assert (found.total_steps, found.formula) == (300, "24 × 10 ÷ 2 ÷ 4 × 10")


def test_partly_filled_batches_count():
    images = pictures(3, 1, (512, 512)) + pictures(3, 1, (640, 480))
    found = plan(images, train_batch_size=2)
    assert [(b.width, b.height, b.repeats_total, b.batches) for b in found.buckets] == [
        (512, 384, 3, 2),
        (512, 512, 3, 2),
    ]
    assert (found.batches_per_epoch, found.is_plain_sum) == (4, False)
    assert "not full" in str(say(found.said_length()))


def test_a_short_group_at_the_end_of_an_epoch_is_a_step():
    found = plan(pictures(5, 1), gradient_accumulation_steps=2, epoch=2)
    assert (found.batches_per_epoch, found.steps_per_epoch, found.total_steps) == (5, 3, 6)


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from([(512, 512), (300, 700), (640, 480)])),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_the_loop_makes_exactly_the_planned_steps(groups, batch_size, accumulate, epochs):
    images = [image for number, size in groups for image in pictures(number, 2, size)]
    found = plan(images, train_batch_size=batch_size, gradient_accumulation_steps=accumulate, epoch=epochs)
    steps = list(groups_from(Position(), found.batches_per_epoch, accumulate, found.total_steps))
    assert len(steps) == found.total_steps
    assert steps[-1].after == Position(found.total_steps, epochs + 1, 0)


@pytest.mark.parametrize(
    ("values", "total", "epochs", "decided_by"),
    [
        ({"epoch": 3}, 150, 3, "epoch"),
        ({"epoch": 3, "max_train_steps": 120}, 120, 3, "max_train_steps"),
        ({"epoch": 3, "max_train_steps": 1000}, 1000, 20, "max_train_steps"),
        ({"epoch": 3, "max_train_epochs": 2}, 100, 2, "max_train_epochs"),
        ({"epoch": 3, "max_train_epochs": 2, "max_train_steps": 7}, 100, 2, "max_train_epochs"),
    ],
)
def test_one_rule_decides_the_length(values, total, epochs, decided_by):
    found = plan(**values)
    assert (found.total_steps, found.epochs, found.decided_by) == (total, epochs, decided_by)
    rule = str(say(found.said_rule()))
    assert {"epoch": "**Epoch** decides", "max_train_steps": "**Max train steps** decides"}.get(
        decided_by, ""
    ) in rule


def test_save_every_2_of_10_epochs_gives_2_4_6_8_and_the_final_file():
    found = plan(epoch=10, save_every_n_epochs=2, output_name="cat")
    names = [f"cat-{epoch:06d}.safetensors" for epoch in (2, 4, 6, 8)]
    assert [save.name for save in found.saves] == [*names, "cat.safetensors"]
    assert [save.step for save in found.saves] == [100, 200, 300, 400, 500]
    assert found.final_name == "cat.safetensors"


def test_save_every_n_steps_leaves_out_the_last_step():
    found = plan(pictures(20), save_every_n_epochs=0, save_every_n_steps=50, save_model_as="ckpt")
    names = [f"last-step{step:08d}.ckpt" for step in (50, 100, 150)]
    assert [save.name for save in found.saves] == [*names, "last.ckpt"]


def test_saves_by_epochs_and_steps_stand_in_the_order_they_come():
    found = plan(epoch=2, save_every_n_epochs=1, save_every_n_steps=40)
    assert [save.step for save in found.saves] == [40, 50, 80, 100]


def test_a_run_cut_within_an_epoch_saves_the_epochs_before():
    found = plan(epoch=9, max_train_steps=120, save_every_n_epochs=1)
    assert [(save.step, save.epoch) for save in found.saves] == [(50, 1), (100, 2), (120, 3)]


def test_save_last_n_steps_removes_as_the_guide_says():
    """Every 100 of 600 steps, last 300: at step 500 the file of step 100 goes."""
    found = plan(pictures(60), save_every_n_epochs=0, save_every_n_steps=100, save_last_n_steps=300)
    assert [(save.step, save.gone_at) for save in found.saves[:-1]] == [
        (100, 500),
        (200, 0),
        (300, 0),
        (400, 0),
        (500, 0),
    ]


def test_save_last_n_epochs_keeps_that_many_files():
    found = plan(epoch=6, save_every_n_epochs=1, save_last_n_epochs=2)
    assert [(save.epoch, save.gone_at) for save in found.saves[:-1]] == [
        (1, 150),
        (2, 200),
        (3, 250),
        (4, 0),
        (5, 0),
    ]
    everything = plan(epoch=6, save_every_n_epochs=1)
    assert found.disk_bytes == found.lora_bytes * 3  # at the third epoch, before the first file goes
    assert everything.disk_bytes == everything.lora_bytes * 6


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({}, ()),
        ({"sample_every_n_epochs": 1}, (50, 100)),
        ({"sample_every_n_epochs": 2}, (100,)),
        ({"sample_every_n_steps": 30}, (30, 60, 90)),
        ({"sample_every_n_steps": 50, "sample_at_first": True}, (0, 50, 100)),
        ({"sample_every_n_steps": 30, "sample_every_n_epochs": 2}, (100,)),
        ({"sample_at_first": True}, (0,)),
        ({"sample_every_n_epochs": 1, "max_train_steps": 60}, (50, 60)),
    ],
)
def test_samples_come_when_they_are_asked_for(values, steps):
    assert plan(epoch=2, sample_prompts="a cat\na dog", **values).sample_steps == steps
    assert plan(epoch=2, sample_prompts="# none", **values).sample_steps == ()


@pytest.mark.parametrize(
    ("values", "warmup"),
    [
        ({}, 10),
        ({"lr_warmup": 25.5}, 26),
        ({"lr_warmup_steps": 7}, 7),
        ({"lr_scheduler": "constant"}, 0),
        ({"lr_scheduler": "constant_with_warmup", "lr_warmup": 50}, 50),
    ],
)
def test_warmup_is_a_share_of_all_steps(values, warmup):
    assert plan(epoch=2, **values).warmup_steps == warmup


def test_regularisation_pictures_are_matched_and_double_the_epoch():
    found = plan(pictures(3, 4), pictures(5, 1, is_reg=True), epoch=2)
    assert (found.reg_images, found.steps_per_epoch, found.formula) == (5, 24, "3 × 4 × 2 × 2")
    assert found.is_plain_sum


def test_unused_regularisation_pictures_are_not_counted():
    found = plan(pictures(2, 1), pictures(5, 1, is_reg=True))
    assert (found.images, found.reg_images, found.steps_per_epoch) == (2, 2, 4)


def test_several_folders_are_added_up():
    images = [*pictures(24, 10), *pictures(8, 5)]
    assert plan(images, train_batch_size=2).formula == "(24 × 10 + 8 × 5) ÷ 2 × 1"


def test_processes_share_an_epochs_batches():
    assert plan(pictures(5, 1), num_processes=2).steps_per_epoch == 3


def test_no_picture_no_step():
    found = build_plan(Settings(), [])
    assert (found.total_steps, found.saves, found.buckets) == (0, (), ())


def test_captions_are_counted():
    found = plan([*pictures(2), TrainImage(Path("x.png"), "10_cat", 10, "cat", "red", True, 512, 512)])
    assert (found.images, found.captions_found) == (3, 1)


def test_lora_size_follows_rank_parts_and_precision():
    """Rank 8, UNet and text encoder of Stable Diffusion 1.5 in fp16: the well-known 9.5 MB."""
    found = plan(network_dim=8).lora_bytes
    assert 9.4e6 < found < 9.7e6
    assert plan(network_dim=16).lora_bytes > 1.9 * found
    assert plan(network_dim=8, save_precision="float").lora_bytes > 1.9 * found
    unet_only = plan(network_dim=8, text_encoder_lr=0).lora_bytes
    assert unet_only - found == -2 * 8 * 12 * (4 * (768 + 768) + 2 * (768 + 3072))
    assert plan(network_dim=8, LoRA_type="Kohya LoCon", conv_dim=4).lora_bytes > found
    assert plan(network_dim=8, sdxl=True).lora_bytes > 5 * found
    assert plan(network_dim=8, block_dims=",".join(["4"] * 25)).lora_bytes < found


def test_states_take_disk():
    one = plan(save_every_n_epochs=0, optimizer="AdamW")
    ended = plan(save_every_n_epochs=0, optimizer="AdamW", save_state_on_train_end=True)
    assert ended.disk_bytes > 6 * one.disk_bytes  # float32 weights and two moments beside fp16 weights
    many = plan(epoch=4, save_state=True)
    assert many.disk_bytes > plan(epoch=4, save_state_on_train_end=True).disk_bytes


def test_memory_follows_what_costs_memory():
    base = plan(mixed_precision="no", optimizer="AdamW")
    assert base.memory_bytes == sum(base.memory.values())
    assert 6e9 < base.memory_bytes < 7.5e9  # measured: 6.6 GB for the UNet alone
    assert plan(mixed_precision="bf16", optimizer="AdamW").memory_bytes < 4.5e9
    less = plan(mixed_precision="no", optimizer="AdamW", gradient_checkpointing=True)
    assert less.memory["pictures"] < base.memory["pictures"]
    more = plan(mixed_precision="no", train_batch_size=4)
    assert more.memory["pictures"] == 4 * base.memory["pictures"]
    assert plan(cache_latents=False).memory["vae"] > 0 == plan().memory["vae"]
    assert plan(optimizer="AdamW8bit").memory["lora"] < plan(optimizer="Prodigy").memory["lora"]


def test_the_plan_is_plain_data():
    data = json.loads(json.dumps(plan(sample_prompts="a", sample_at_first=True).as_json()))
    assert data["total_steps"] == 50
    assert data["saves"][-1]["name"] == "last.safetensors"
    assert data["memory_bytes"] > 0
    assert data["buckets"][0]["batches"] == 50


def test_nothing_is_overwritten(tmp_path):
    assert free_name(tmp_path, "cat", ".safetensors") == "cat"
    (tmp_path / "Cat.safetensors").touch()
    assert free_name(tmp_path, "cat", ".safetensors") == "cat-2"
    (tmp_path / "cat-2-000001.safetensors").touch()
    assert free_name(tmp_path, "cat", ".safetensors") == "cat-3"
    (tmp_path / "cat-3-step00000100.safetensors").touch()
    assert free_name(tmp_path, "cat", ".safetensors") == "cat-4"
    assert free_name(tmp_path, "cat", ".ckpt") == "cat"
    assert free_name(tmp_path / "not there", "cat", ".ckpt") == "cat"
    found = plan(output_dir=str(tmp_path), output_name="cat", epoch=2)
    assert (found.wanted_name, found.final_name) == ("cat.safetensors", "cat-4.safetensors")
    assert found.saves[0].name == "cat-4-000001.safetensors"


@pytest.mark.parametrize(
    "there",
    [
        "cat-state",
        "CAT-step00000003-state",
        "cat-000001-state",
        "cat-1000000.safetensors",
        "cat-step123456789.ckpt",
    ],
)
def test_states_and_large_numbers_count_as_taken(tmp_path, there):
    (tmp_path / there).mkdir()
    assert free_name(tmp_path, "cat", ".ckpt" if there.endswith("ckpt") else ".safetensors") == "cat-2"


def test_one_letter_written_in_two_ways_is_one_name(tmp_path):
    (tmp_path / "か\u3099-000001.safetensors").touch()
    assert free_name(tmp_path, "が", ".safetensors") == "が-2"


def test_a_run_from_a_state_writes_and_draws_what_comes_after_it():
    settings = Settings.from_flat(
        {"save_every_n_steps": 10, "save_every_n_epochs": 1, "epoch": 2, "sample_every_n_steps": 20,
         "sample_at_first": True, "sample_prompts": "a"}
    )  # fmt: skip
    found = build_plan(settings, pictures(5), first_step=50)
    assert (found.total_steps, [save.step for save in found.saves]) == (100, [60, 70, 80, 90, 100])
    assert found.sample_steps == (60, 80, 100)


def test_other_names_do_not_count_as_taken(tmp_path):
    for name in ("cat-red.safetensors", "cats.safetensors", "cat-00001.safetensors", "mycat.safetensors"):
        (tmp_path / name).touch()
    assert free_name(tmp_path, "cat", ".safetensors") == "cat"
    (tmp_path / "c(at.safetensors").touch()
    assert free_name(tmp_path, "c(at", ".safetensors") == "c(at-2"
