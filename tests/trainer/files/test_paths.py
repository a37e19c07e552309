"""Paths as people paste them."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.files.paths import clean_path, clean_paths, nearest_existing, with_clean_paths
from trainer.settings import Settings


@pytest.mark.parametrize(
    ("pasted", "path"),
    [
        ('"C:\\pictures\\my cat"', "C:\\pictures\\my cat"),
        ("  /data/cats \n", "/data/cats"),
        ("'/data/my cats'", "/data/my cats"),
        ("“/data/cats”", "/data/cats"),
        ("file:///data/my%20cats", str(Path("/data/my cats"))),
        ("file://localhost/data/cats", str(Path("/data/cats"))),
        ("file://[", "file://["),
        ("file://[x]/cats", "file://[x]/cats"),
        ("org/model", "org/model"),
        ("", ""),
    ],
)
def test_what_pasting_adds_is_taken_away(pasted, path):
    assert clean_path(pasted) == path


def test_home_is_spelled_out(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert clean_path("~/cats") == str(tmp_path / "cats")


def test_only_paths_are_cleaned():
    values = {"train_data_dir": ' "/a" ', "training_comment": ' "quoted" ', "no_such": '"x"', "seed": 3}
    assert clean_paths(values) == {**values, "train_data_dir": "/a"}


def test_settings_are_cleaned_as_a_copy():
    settings = Settings.from_flat(
        {"train_data_dir": '"/a b"', "output_dir": "/out", "wandb_api_key": "secret"}
    )
    found = with_clean_paths(settings)
    assert found.folders.train_data_dir == "/a b"
    assert settings.folders.train_data_dir == '"/a b"'
    assert found.records.wandb_api_key == "secret"
    assert with_clean_paths(found) is found


def test_the_nearest_existing_place(tmp_path):
    assert nearest_existing(tmp_path / "a" / "b") == tmp_path
    assert nearest_existing(Path(tmp_path)) == tmp_path
