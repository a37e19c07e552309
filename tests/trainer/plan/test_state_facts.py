"""What a state notes about pictures, files and settings, and what is told when they have changed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.made import picture, sound_settings
from trainer.data.folders import TrainImage, scan_folder
from trainer.files.state_folder import StateAbout
from trainer.messages import LANGUAGES, Message, say
from trainer.plan.state_facts import changes, facts_for_state
from trainer.settings import Settings


def state_of(settings: Settings, images: list[TrainImage], **facts: Any) -> StateAbout:
    return StateAbout(
        Path("x"), 3, 1, 3, 1, "cat", settings.flat(), {**facts_for_state(settings, images), **facts}
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return sound_settings(tmp_path, train_batch_size=2)


def images_of(settings: Settings) -> list[TrainImage]:
    return list(scan_folder(Path(settings.folders.train_data_dir), ".txt").images)


def codes(found: list[Any]) -> list[tuple[str, Any]]:
    for language in LANGUAGES:
        said = str(say(Message("training.continued_changed", {"changes": found}), language))
        assert "{" not in said
        assert "code" not in said
    return [(one["code"], one["values"].get("count")) for one in found]


def test_nothing_has_changed(settings: Settings):
    images = images_of(settings)
    assert changes(state_of(settings, images), settings, images) == []


def test_each_kind_of_change_is_counted(settings: Settings):
    before = state_of(settings, images_of(settings))
    folder = Path(settings.folders.train_data_dir) / "10_sks cat"
    picture(folder / "new.png")
    (folder / "0.png").unlink()
    picture(folder / "1.png", (96, 64))
    os.utime(folder / "2.png", (1, 1))
    (folder / "3.txt").write_text("another caption")
    assert codes(changes(before, settings, images_of(settings))) == [
        ("changed.pictures_new", 1), ("changed.pictures_gone", 1), ("changed.pictures_other", 2),
        ("changed.captions_other", 1),
    ]  # fmt: skip


def test_masks_in_files_of_their_own_are_counted(settings: Settings, tmp_path: Path):
    """Edited, gone, come; one of another picture says nothing."""
    pictures, masks = Path(settings.folders.train_data_dir) / "10_sks cat", tmp_path / "masks"
    masks.mkdir()
    for name in ("0.png", "1.png", "2.png"):
        picture(masks / name)
    file = tmp_path / "dataset.toml"
    text = (
        f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = '{pictures}'\nconditioning_data_dir = '{masks}'\n"
    )
    file.write_text(text)
    masked = settings.replace(dataset_config=str(file), masked_loss=True)
    images = images_of(settings)
    before = state_of(masked, images)
    assert changes(before, masked, images) == []
    os.utime(masks / "0.png", (1, 1))
    (masks / "1.png").unlink()
    picture(masks / "3.png")
    picture(masks / "of no picture.png")
    assert codes(changes(before, masked, images)) == [("changed.masks_other", 3)]
    older = {key: value for key, value in before.facts.items() if key != "masks"}
    assert changes(replace(before, facts=older), masked, images) == [], "of a version that noted none"


def test_settings_are_told_with_both_values(settings: Settings):
    images = images_of(settings)
    now = settings.replace(train_batch_size=1, shuffle_caption=True, vae="")
    found = changes(state_of(settings, images), now, images)
    assert [one["values"] for one in found] == [
        {"label": "Train batch size", "old": "2", "new": "1"},
        {"label": "Shuffle caption", "old": "OFF", "new": "ON"},
    ]
    assert "**Train batch size** 2 → 1" in str(say(Message("training.continued_changed", {"changes": found})))


def test_a_model_that_was_replaced_and_a_new_library(settings: Settings):
    pytest.importorskip("torch")
    images = images_of(settings)
    before = state_of(settings, images, versions={"torch": "1.0", "of another time": "1"})
    model = Path(settings.model.pretrained_model_name_or_path)
    model.write_bytes(model.read_bytes() + b"\0")
    assert codes(changes(before, settings, images)) == [("changed.file", None), ("changed.version", None)]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"pictures": 7, "files": [], "versions": "x", "picture_count": "y"},
        {"pictures": {"a": 5}, "files": {"vae": 1}},
    ],
    ids=str,
)
def test_states_that_tell_less_or_nonsense(settings: Settings, facts: dict[str, Any]):
    images = images_of(settings)
    about = replace(state_of(settings, images), facts=facts, settings={})
    assert not [code for code, _ in codes(changes(about, settings, images)) if "picture" not in code]


def test_of_very_many_pictures_only_the_number_is_noted(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trainer.plan.state_facts.MOST_PICTURES", 3)
    images = images_of(settings)
    about = state_of(settings, images)
    assert about.facts["pictures"] == {}
    assert changes(about, settings, images) == []
    assert codes(changes(about, settings, images[:-1])) == [("changed.picture_count", None)]
