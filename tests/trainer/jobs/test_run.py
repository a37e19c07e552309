"""Whole runs: what is learned, written and told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from tests.trainer.runs import DEMO, events, run, short_settings, trained
from trainer.events import Failed, Finished, Phase, Sampled, Saved, Started, Step
from trainer.files.job_folder import JobFolder
from trainer.jobs.run import run_job
from trainer.kohya.networks import lora_type
from trainer.kohya.start_file import read_start_file
from trainer.lora.info import describe
from trainer.plan.inputs import read_inputs

ROOT = Path(__file__).parents[3]


def test_a_run_tells_every_step_and_ends_with_the_file(tmp_path):
    job, code = run(tmp_path)
    told = events(job)
    assert code == 0
    assert [event.step for event in told if isinstance(event, Step)] == [1, 2, 3]
    started = next(event for event in told if isinstance(event, Started))
    assert (started.total_steps, started.seed, started.plan["total_steps"]) == (3, 1, 3)
    assert told[-1] == Finished(3, str(tmp_path / "out" / "mascot.safetensors"))
    assert (tmp_path / "out" / "mascot.safetensors").is_file()


def test_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    first, again = trained(tmp_path / "a"), trained(tmp_path / "b")
    other = trained(tmp_path / "c", seed=2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_a_blank_seed_is_drawn_and_recorded(tmp_path):
    job, _ = run(tmp_path, seed=None, max_train_steps=1)
    seed = next(event.seed for event in events(job) if isinstance(event, Started))
    with safe_open(tmp_path / "out" / "mascot.safetensors", "pt") as file:
        assert file.metadata()["ss_seed"] == str(seed)
    known = trained(tmp_path / "known", seed=seed, max_train_steps=1)
    with safe_open(tmp_path / "out" / "mascot.safetensors", "pt") as file:
        assert all(torch.equal(file.get_tensor(key), known[key]) for key in known)


def test_files_appear_when_save_every_n_says_so(tmp_path):
    # 12 pictures x 10 repeats / 60 = 2 steps per epoch
    job, _ = run(
        tmp_path, train_batch_size=60, max_train_steps=0, epoch=3, save_every_n_epochs=1, save_every_n_steps=4
    )
    saved = [
        Path(event.path).name for event in events(job) if isinstance(event, Saved) and event.kind == "lora"
    ]
    assert saved == [
        "mascot-000001.safetensors",
        "mascot-000002.safetensors",
        "mascot-step00000004.safetensors",
        "mascot.safetensors",
    ] or sorted(saved) == sorted(
        [
            "mascot-000001.safetensors",
            "mascot-step00000004.safetensors",
            "mascot-000002.safetensors",
            "mascot.safetensors",
        ]
    )


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("optimizer_args", {"optimizer_args": "foreach=True fused=True"}),
        ("optimizer_args", {"optimizer": "Lion", "optimizer_args": "weight_decay=-1"}),
        ("lr_scheduler_args", {"lr_scheduler": "inverse_sqrt", "lr_scheduler_args": "timescale=-5"}),
    ],
)
def test_arguments_that_cannot_be_end_the_run_before_anything_is_loaded(tmp_path, setting, values):
    job, code = run(tmp_path, **values)
    assert code == 2
    *before, last = events(job)
    assert isinstance(last, Failed)
    assert (last.setting, last.trace) == (setting, "")
    assert {event.name for event in before if isinstance(event, Phase)} == {"start"}


def test_an_existing_file_is_not_overwritten(tmp_path):
    trained(tmp_path, max_train_steps=1)
    before = (tmp_path / "out" / "mascot.safetensors").read_bytes()
    job, code = run(tmp_path, max_train_steps=1, seed=5)
    assert code == 0
    assert (tmp_path / "out" / "mascot.safetensors").read_bytes() == before
    assert events(job)[-1] == Finished(1, str(tmp_path / "out" / "mascot-2.safetensors"))


def test_samples_are_drawn_at_first_and_on_the_way(tmp_path):
    job, _ = run(
        tmp_path,
        sample_at_first=True,
        sample_every_n_steps=2,
        max_train_steps=2,
        sample_prompts="sks mascot --w 64 --h 64 --s 2 --d 7\na red circle --w 72 --h 64 --s 2",
    )
    drawn = [event for event in events(job) if isinstance(event, Sampled)]
    assert [(event.step, event.index) for event in drawn] == [(0, 0), (0, 1), (2, 0), (2, 1)]
    assert drawn[0].seed == 7
    with Image.open(job.path / drawn[1].path) as picture:
        assert picture.size == (72, 64)


def test_sampling_does_not_change_what_is_learned(tmp_path):
    plain = trained(tmp_path / "a")
    prompts = "sks mascot --w 64 --h 64 --s 2"
    sampled = trained(tmp_path / "b", sample_at_first=True, sample_every_n_steps=1, sample_prompts=prompts)
    assert all(torch.equal(plain[key], sampled[key]) for key in plain)


def test_resume_goes_on_at_the_step_of_the_state(tmp_path, monkeypatch):
    whole = trained(tmp_path / "whole", max_train_steps=2)
    trained(tmp_path / "first", max_train_steps=1, save_state_on_train_end=True)
    state = tmp_path / "first" / "out" / "mascot-state"
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_words, **_options: str(state.parent))
    places = {"resume": str(state), "resume_from_huggingface": f"me/loras/{state.name}"}
    for setting, place in places.items():
        job, _ = run(tmp_path / setting, max_train_steps=2, **{setting: place})
        assert [event.step for event in events(job) if isinstance(event, Step)] == [2], setting
        with safe_open(tmp_path / setting / "out" / "mascot.safetensors", "pt") as file:
            assert all(torch.equal(file.get_tensor(key), whole[key]) for key in whole)


def test_a_wrong_folder_is_said_before_anything_is_loaded(tmp_path):
    job, code = run(tmp_path, train_data_dir=str(tmp_path / "nowhere"))
    last = events(job)[-1]
    assert code == 2
    assert isinstance(last, Failed)
    assert last.setting == "train_data_dir"
    assert not (tmp_path / "out").exists()


def test_a_lora_of_a_run_gives_the_same_pictures_in_diffusers_as_in_the_run(tmp_path):
    """The file read by diffusers changes the UNet and the text encoder just as the live LoRA did."""
    from diffusers import StableDiffusionPipeline

    from trainer.training.build import build_parts
    from trainer.training.loop import train

    settings = short_settings(tmp_path, unet_lr=1e-2, text_encoder_lr=1e-2)
    job = JobFolder.create(tmp_path, settings)
    parts = build_parts(read_inputs(settings), job, lambda event: None)
    train(parts, lambda event: None, lambda: False)
    pipeline = StableDiffusionPipeline.from_pretrained(DEMO / "model", safety_checker=None)
    noisy, timesteps = (
        torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)),
        torch.tensor([500]),
    )
    ids = pipeline.tokenizer("sks mascot", padding="max_length", return_tensors="pt").input_ids

    def answers(text_encoder, unet):
        with torch.no_grad():
            embeds = text_encoder(ids).last_hidden_state
            return embeds, unet(noisy, timesteps, embeds).sample

    base = answers(pipeline.text_encoder, pipeline.unet)
    pipeline.load_lora_weights(tmp_path / "out" / "mascot.safetensors")
    loaded = answers(pipeline.text_encoder, pipeline.unet)
    live = answers(parts.model.text_encoders[0], parts.model.denoiser)
    for before, theirs, ours in zip(base, loaded, live, strict=True):
        assert (ours - before).abs().max() > 1e-2  # the LoRA does something
        assert (ours - theirs).abs().max() < 1e-4


def test_command_line_trains_checks_and_inspects(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(short_settings(tmp_path).flat()), encoding="utf-8")

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trainer", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )

    checked = call("check", str(config), "--json")
    assert (checked.returncode, json.loads(checked.stdout)["plan"]["total_steps"]) == (0, 3)
    done = call("train", str(config), "--set", "max_train_steps=1", "--job", str(tmp_path / "job"))
    assert done.returncode == 0, done.stdout + done.stderr
    seen = call("inspect", str(tmp_path / "out" / "mascot.safetensors"), "--json")
    assert json.loads(seen.stdout)["parts"] == {"text_encoder": 24, "unet": 192}
    assert call("train", str(config), "--set", "no_such=1").returncode == 2


@pytest.mark.parametrize("part", ["unet_lr", "text_encoder_lr"])
def test_a_rate_of_zero_leaves_that_part_alone(tmp_path, part):
    weights = trained(tmp_path, max_train_steps=1, **{part: 0})
    prefixes = {
        key.split("_text_model")[0].split("_down")[0].split("_mid")[0].split("_up_b")[0] for key in weights
    }
    assert prefixes == ({"lora_te"} if part == "unet_lr" else {"lora_unet"})


TYPES = [
    {"LoRA_type": "Standard", "shuffle_caption": True, "network_dropout": 0.2},
    {"LoRA_type": "LyCORIS/LoHa", "use_scalar": True, "train_norm": True},
    {"LoRA_type": "Kohya DyLoRA", "unit": 2, "conv_dim": 4},
    {"LoRA_type": "LyCORIS/Diag-OFT", "conv_dim": 4},
    {"LoRA_type": "LoRA-FA"},
]


@pytest.mark.parametrize(
    "values",
    [*TYPES[:2], *(pytest.param(values, marks=pytest.mark.long) for values in TYPES[2:])],
    ids=lambda values: values["LoRA_type"],
)
def test_stopped_after_two_steps_it_continues_as_if_never_stopped(tmp_path, values):
    from trainer.training.build import build_parts
    from trainer.training.loop import train

    changes = {"max_train_steps": 4, **values}
    whole = trained(tmp_path / "whole", **changes)
    settings = short_settings(tmp_path, **changes)
    job = JobFolder.create(tmp_path, settings)
    steps = []
    ended = train(
        build_parts(read_inputs(settings), job, steps.append), steps.append, lambda: len(steps_in(steps)) == 2
    )
    assert ended.stopped
    assert ended.position.step == 2
    assert run_job(job, resume=True) == 0
    path = tmp_path / "out" / "mascot.safetensors"
    with safe_open(path, "pt") as file:
        assert all(torch.equal(file.get_tensor(key), whole[key]) for key in whole)
        metadata = file.metadata()
    arguments = json.loads(metadata.get("ss_network_args", "{}"))
    assert lora_type(metadata["ss_network_module"], arguments) == values["LoRA_type"]
    found = read_start_file(path)
    assert found is not None
    assert found.type == values["LoRA_type"]
    assert describe(path).modules


def steps_in(seen):
    return [event for event in seen if isinstance(event, Step)]
