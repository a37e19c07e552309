"""With --listen nothing outside the allowed folders is looked into or written to, however it is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from trainer.errors import UserError
from trainer.files.hub import place_of
from trainer.files.job_folder import PROJECT
from trainer.files.paths import PATH_SETTINGS
from trainer.files.roots import Roots
from trainer.kohya.sd_defaults import DEFAULTS
from trainer.preflight import places
from trainer.preflight.check import Checked, check
from trainer.settings import TRAINING, Settings

TEXTS = tuple(
    key for key, setting in TRAINING.items() if setting.kind == "text" and setting.spec.widget != "secret"
)
OPTIONS = tuple(name for name, default in DEFAULTS.items() if default is None or isinstance(default, str))
NO_PLACES = {
    "output_name", "training_comment", "down_lr_weight", "mid_lr_weight", "up_lr_weight",
    "block_lr_zero_threshold", "block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas",
    "caption_extension", "max_resolution", "optimizer_args", "lr_scheduler_args", "gpu_ids",
    "extra_accelerate_launch_args", "metadata_title", "metadata_author", "metadata_description",
    "metadata_license", "metadata_tags", "huggingface_repo_id", "huggingface_repo_type",
    "huggingface_repo_visibility", "huggingface_path_in_repo", "resume_from_huggingface", "sample_prompts",
    "wandb_run_name", "log_tracker_name", "additional_parameters",
}  # fmt: skip
"""Texts that name no place by themselves. A new setting is either one of these or judged."""
OPENING = ("open", "os.scandir", "os.listdir", "os.mkdir", "os.rename", "os.remove", "os.chdir")
opened: list[str] = []
watched = [""]


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if watched[0] and event in OPENING and arguments and isinstance(arguments[0], (str, bytes, os.PathLike)):
        text = os.fsdecode(arguments[0])
        if watched[0] in text or watched[0] in os.path.realpath(text):
            opened.append(text)


sys.addaudithook(_hear)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """in/ is allowed and holds all that a run needs; out/ holds the same and is not."""
    for side in ("in", "out"):
        folder = tmp_path / side
        pictures = folder / "img" / "3_cat"
        pictures.mkdir(parents=True)
        Image.new("RGB", (64, 64), "#446688").save(pictures / "a.png")
        (pictures / "a.caption").write_text("a caption")
        (folder / "res").mkdir()
        (folder / "prompts.txt").write_text("a secret prompt\n")
        (folder / "data.toml").write_text(_dataset(folder / "img" / "3_cat"))
        (folder / "track.toml").write_text("[tensorboard]\nflush_secs = 30\n")
        (folder / ".hidden").mkdir()
        (folder / "state").mkdir()
        (folder / "state" / "state.json").write_text("{}")
    (tmp_path / "in" / "way_out").symlink_to(tmp_path / "out")
    return tmp_path


@pytest.fixture
def touched(house: Path) -> Iterator[list[str]]:
    """What was opened, listed or made below out/ in this test."""
    opened.clear()
    watched[0] = str(house / "out")
    yield opened
    watched[0] = ""


def _dataset(folder: Path | str, **more: str) -> str:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
    return (
        f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = {json.dumps(str(folder))}\nnum_repeats = 2\n{lines}"
    )


def roots(house: Path) -> Roots:
    return Roots(((house / "in").resolve(), PROJECT / "presets"), strict=True)


def settings(house: Path, **values: Any) -> Settings:
    inside = house / "in"
    return Settings.from_flat({
        "pretrained_model_name_or_path": str(PROJECT / "presets" / "demo" / "model"),
        "train_data_dir": str(inside / "img"), "output_dir": str(inside / "res"), "max_resolution": "64,64",
        **values,
    })  # fmt: skip


def judged(house: Path, **values: Any) -> Checked:
    return check(settings(house, **values), roots(house))


def codes(checked: Checked) -> set[str]:
    return {problem.code for problem in checked.problems if problem.code.startswith("preflight.outside")}


def test_a_run_within_the_folders_is_let_through(house: Path):
    checked = judged(
        house,
        dataset_config=str(house / "in" / "data.toml"),
        log_tracker_config=str(house / "in" / "track.toml"),
        logging_dir=str(house / "in" / "logs"),
        additional_parameters=f"--sample_prompts {house / 'in' / 'prompts.txt'} --output_name=a/b",
    )
    assert not codes(checked)
    assert checked.plan


def test_without_listening_nothing_is_judged(house: Path):
    outside = settings(house, output_dir=str(house / "out"))
    assert not places.check(outside, None)
    assert not places.check(outside, Roots(((house / "in").resolve(),)))


# ── how a place may be written ──────────────────────────────────────────────────────────────────────


def ways(house: Path, name: str) -> list[str]:
    """One place outside, written in several ways."""
    out = house / "out" / name
    up = os.path.relpath(out, PROJECT)
    return [
        str(out), f' "{out}" ', f"file://{out}", f"{house}/in/../out/{name}", f"{house}/in/way_out/{name}",
        up, f"./{up}", f"presets/../{up}", f"{house}/in/.hidden/{name}", f"~nobody-here/{name}", "~root/x",
        f"/proc/self/root{out}", f"//{str(out).lstrip('/')}", "trainer", "..", ".", "C:\\Users\\x",
    ]  # fmt: skip


@pytest.mark.parametrize("key", PATH_SETTINGS)
def test_every_setting_that_names_a_place_is_judged(house: Path, touched: list[str], key: str):
    for text in ways(house, "res"):
        checked = judged(house, **{key: text})
        assert codes(checked) == {"preflight.outside"}, text
        assert {problem.setting for problem in checked.problems} == {key}, text
        assert checked.plan is None
    assert not touched


@pytest.mark.parametrize("key", TEXTS)
def test_no_text_leads_out(house: Path, touched: list[str], key: str):
    """Also texts that name no place today: what they hold opens nothing outside."""
    for text in (str(house / "out" / "img"), os.path.relpath(house / "out" / "prompts.txt", PROJECT)):
        checked = judged(house, **{key: text})
        assert codes(checked) if key not in NO_PLACES else True, text
    assert not touched


def test_each_text_is_known_as_a_place_or_as_none():
    assert {*TEXTS} - {*places.PLACES} == NO_PLACES


@pytest.mark.parametrize("option", OPTIONS)
def test_no_option_leads_out(house: Path, touched: list[str], option: str):
    for text in (str(house / "out" / "img"), os.path.relpath(house / "out" / "prompts.txt", PROJECT)):
        checked = judged(house, additional_parameters=f'--v2 --{option}="{text}"')
        assert checked.blocked or option in {*NO_PLACES} - {"sample_prompts"}, option
        if codes(checked):
            [problem] = checked.problems
            assert problem.setting == "additional_parameters"
            assert problem.fix == {"additional_parameters": "--v2"}
    assert not touched


@pytest.mark.parametrize(
    "option",
    [
        "output_dir", "train_data_dir", "reg_data_dir", "logging_dir", "sample_prompts", "dataset_config",
        "config_file", "network_weights", "base_weights", "resume", "vae", "pretrained_model_name_or_path",
        "log_tracker_config", "in_json", "console_log_file", "tokenizer_cache_dir", "conditioning_data_dir",
    ],
)  # fmt: skip
def test_options_that_name_places_are_refused(house: Path, touched: list[str], option: str):
    for text in (str(house / "out" / "res"), os.path.relpath(house / "out", PROJECT), "~/x", "/etc/passwd"):
        assert "preflight.outside" in codes(judged(house, additional_parameters=f"--{option} {text}")), text
    assert not touched


def test_what_the_form_says_is_judged_even_where_an_option_has_the_last_word(house: Path, touched: list[str]):
    inside = f"--train_data_dir {house / 'in' / 'img'}"
    checked = judged(house, train_data_dir=str(house / "out" / "img"), additional_parameters=inside)
    assert codes(checked)
    assert not touched


@pytest.mark.parametrize("name", ["some/model", "stable-diffusion-v1-5/stable-diffusion-v1-5"])
def test_a_model_of_the_hub_is_no_place(house: Path, name: str):
    for key in ("pretrained_model_name_or_path", "vae", "model_list"):
        assert not codes(judged(house, **{key: name}))


@pytest.mark.parametrize("name", ["../model", "..", "./x", "trainer/models", "tests/data", "a/../..", "app"])
def test_what_is_there_is_no_name_of_the_hub(house: Path, name: str):
    for key in ("pretrained_model_name_or_path", "vae", "model_list"):
        assert codes(judged(house, **{key: name})), key


@pytest.mark.parametrize(
    "text",
    ["a/b/../../x", "a/b//etc/x", "a/b/c/../../../../x", "a/b/..", "a/b/c\\..\\..\\x", "a/b/./c", "a/b/"],
)
def test_a_state_of_the_hub_stays_in_its_folder(text: str):
    assert place_of(text) is None
    assert place_of("a/b/c/d:main")


# ── what files name, and links ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", ["image_dir", "conditioning_data_dir", "metadata_file", "cache_dir"])
@pytest.mark.parametrize("part", ["general", "dataset", "subset"])
def test_folders_that_a_dataset_file_names(house: Path, touched: list[str], key: str, part: str):
    inside = house / "in" / "img" / "3_cat"
    for text in [*ways(house, "img/3_cat")[3:9], "~root/x", "trainer", "..", "."]:
        line, own = f"{key} = {json.dumps(text)}\n", f"image_dir = {json.dumps(str(inside))}\n"
        own = "" if key == "image_dir" else own
        file = house / "in" / "new.toml"
        file.write_text(
            ("[general]\n" + line if part == "general" else "")
            + ("[[datasets]]\n" + (line if part == "dataset" else ""))
            + ("[[datasets.subsets]]\nnum_repeats = 1\n" + own + (line if part == "subset" else ""))
        )
        assert codes(judged(house, dataset_config=str(file))) == {"preflight.outside_in_file"}, text
    assert not touched


@pytest.mark.parametrize(
    "options",
    [
        '[wandb]\ndir = "{out}"', '[wandb]\nconfig = "../x.yaml"', '[wandb.settings]\nroot_dir = "{out}"',
        '[tensorboard]\nfilename_suffix = "/../../x"', '[wandb]\nother = ["{out}"]',
    ],
)  # fmt: skip
def test_places_that_a_tracker_config_names(house: Path, touched: list[str], options: str):
    file = house / "in" / "track.toml"
    file.write_text(options.replace("{out}", str(house / "out")))
    assert codes(judged(house, log_tracker_config=str(file))) == {"preflight.outside_in_file"}
    assert not touched


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("img/3_cat/b.png", "img/3_cat/a.png"), ("img/3_cat/a.caption", "prompts.txt"),
        ("img/2_dog", "img/3_cat"),
        ("img/3_cat/c.png", ".hidden/c.png"), ("img/loop", "../in/img/loop"), ("logs/wandb", "res"),
        ("state2/state.json", "state/state.json"),
    ],
)  # fmt: skip
def test_links_among_the_files(house: Path, touched: list[str], link: str, target: str):
    place = house / "in" / link
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(house / "out" / target)
    more = {"logging_dir": str(house / "in" / "logs"), "resume": str(house / "in" / "state2")}
    assert codes(judged(house, **more)) == {"preflight.outside_link"}
    inside = house / "in" / "2.toml"
    if link.startswith("img/3_cat"):
        inside.write_text(_dataset(house / "in" / "img" / "3_cat"))
        assert codes(judged(house, dataset_config=str(inside), train_data_dir="")) == {
            "preflight.outside_link"
        }
        inside.write_text(_dataset(house / "in" / "res", conditioning_data_dir=str(place.parent)))
        assert codes(judged(house, dataset_config=str(inside), train_data_dir="")) == {
            "preflight.outside_link"
        }
    assert not touched


def test_links_within_the_folders_are_followed(house: Path):
    (house / "in" / "img" / "2_dog").symlink_to(house / "in" / "img" / "3_cat")
    checked = judged(house)
    assert checked.plan
    assert checked.plan.images == 2


def test_the_same_is_said_whether_something_is_there_or_not(house: Path):
    there, nothing = (
        judged(house, output_dir=str(house / "out")),
        judged(house, output_dir=str(house / "off")),
    )
    assert [problem.code for problem in there.problems] == [problem.code for problem in nothing.problems]


# ── the trainer itself ──────────────────────────────────────────────────────────────────────────────


def start(house: Path, verb: str, asked: Settings) -> subprocess.CompletedProcess[str]:
    job = house / "in" / "jobs" / "one"
    job.mkdir(parents=True)
    (job / "settings.json").write_text(json.dumps(asked.flat()))
    environment = {**os.environ, **roots(house).environment(), "LORA_ATELIER_WORKSPACE": str(house / "in")}
    return subprocess.run(
        [sys.executable, "-m", "trainer", verb, str(job)], cwd=PROJECT, env=environment, text=True,
        capture_output=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("verb", ["job", "resume"])
@pytest.mark.parametrize(
    "wanted", [{"output_dir": "{out}/new"}, {"additional_parameters": "--output_dir {out}/new --seed 1"}]
)
def test_a_trainer_for_others_keeps_to_the_folders(house: Path, verb: str, wanted: dict[str, str]):
    """The page judged before the job waited; what counts is what is there when it begins."""
    before = sorted((house / "out").rglob("*"))
    values = {key: text.replace("{out}", str(house / "out")) for key, text in wanted.items()}
    done = start(house, verb, settings(house, **values))
    assert done.returncode == 2, done.stdout + done.stderr
    events = (house / "in" / "jobs" / "one" / "events.jsonl").read_text()
    assert "preflight.outside" in events
    assert sorted((house / "out").rglob("*")) == before


def test_the_first_place_outside_is_an_error_with_its_setting(house: Path):
    with pytest.raises(UserError) as caught:
        places.require_within(settings(house, vae=str(house / "out" / "x.safetensors")), roots(house))
    assert caught.value.setting == "vae"
    assert "--root" in str(caught.value)
