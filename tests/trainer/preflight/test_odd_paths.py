"""Paths that no system can have are told at their setting, wherever they come from."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.found import expect
from tests.trainer.made import sound_settings
from trainer.files.paths import can_exist
from trainer.files.roots import Roots
from trainer.preflight.check import check, check_values
from trainer.preflight.places import PLACES

ODD = {"nul": "a\x00b", "long name": "x" * 300, "long path": "a/" * 3000, "long kana": "猫" * 100}
FREE = ("huggingface_path_in_repo", "model_list")


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("key", [key for key in PLACES if key not in FREE])
def test_a_path_that_cannot_be_is_told_at_its_setting(key: str, odd: str, tmp_path: Path) -> None:
    values = sound_settings(tmp_path).replace(**{key: ODD[odd]})
    expect(values, "preflight.path_impossible", setting=key, blocks=True)
    for roots in (None, Roots((tmp_path.resolve(),), strict=True)):
        settings, checked = check_values(values.flat(), roots)
        assert settings
        assert "preflight.path_impossible" in {problem.code for problem in checked.problems}


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that this account may not look into: the system says so here, as none is closed to root."""
    folder = tmp_path / "closed"

    def guarded(look: Callable[..., Any]) -> Callable[..., Any]:
        def looks(path: Any, *args: Any, **options: Any) -> Any:
            if isinstance(path, (str, Path)) and folder in Path(path).parents:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return look(path, *args, **options)

        return looks

    (folder / "in").mkdir(parents=True)
    monkeypatch.setattr(Path, "stat", guarded(Path.stat))
    monkeypatch.setattr(os, "scandir", guarded(os.scandir))
    return folder


@pytest.mark.parametrize("key", PLACES)
def test_a_path_in_a_closed_folder_is_told_at_its_setting(key: str, tmp_path: Path, closed: Path) -> None:
    values = sound_settings(tmp_path).replace(**{key: str(closed / "in" / "x")})
    problem = expect(values, "preflight.path_closed", setting=key, blocks=True)
    assert problem.values["path"].startswith(str(closed))
    assert check_values(values.flat())[1].blocked
    strict = check(values, Roots(((tmp_path / "img").resolve(),), strict=True))
    assert "preflight.path_closed" not in {one.code for one in strict.problems}  # not even looked at


@pytest.mark.parametrize("key", ["image_dir", "conditioning_data_dir"])
def test_a_closed_folder_in_a_dataset_file_ends_no_check(key: str, tmp_path: Path, closed: Path) -> None:
    settings = sound_settings(tmp_path, masked_loss=True)
    subset = {"image_dir": str(tmp_path / "img" / "10_sks cat"), key: str(closed / "in")}
    lines = "".join(f"{name} = '{value}'\n" for name, value in subset.items())
    file = tmp_path / "d.toml"
    file.write_text(f"[[datasets]]\n[[datasets.subsets]]\n{lines}", encoding="utf-8")
    assert check(settings.replace(dataset_config=str(file))).blocked == (key == "image_dir")


def test_a_typed_path_in_a_closed_folder_is_told(tmp_path: Path, closed: Path) -> None:
    text = f"--vae '{closed / 'in' / 'x'}'"
    assert "preflight.path_closed" in {
        problem.code for problem in check(sound_settings(tmp_path, additional_parameters=text)).problems
    }


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("key", ["image_dir", "conditioning_data_dir"])
def test_a_path_in_a_dataset_file_that_cannot_be_is_told(key: str, odd: str, tmp_path: Path) -> None:
    settings = sound_settings(tmp_path, masked_loss=True)
    subset = {"image_dir": str(tmp_path / "img" / "10_sks cat"), key: ODD[odd].replace("\0", "\\u0000")}
    lines = "".join(f'{name} = "{value}"\n' for name, value in subset.items())
    file = tmp_path / "d.toml"
    file.write_text(f"[[datasets]]\n[[datasets.subsets]]\n{lines}", encoding="utf-8")
    assert check(settings.replace(dataset_config=str(file))).blocked


@pytest.mark.parametrize("text", ["--output_dir " + "x" * 300, "--vae " + "y/" * 4000, "--seed a\x00b"])
def test_a_typed_path_that_cannot_be_is_told(text: str, tmp_path: Path) -> None:
    assert check(sound_settings(tmp_path, additional_parameters=text)).blocked


@pytest.mark.parametrize("place", ["/", ".", "..", "//", "./."])
def test_a_folder_without_a_name_holds_no_state(place: str, tmp_path: Path) -> None:
    assert check(sound_settings(tmp_path, resume=place)).blocked


def test_ordinary_paths_can_be() -> None:
    for path in ("", ".", "/a/b", "C:\\a\\b", "\\\\server\\x", "猫" * 80, "a b/ü", "~"):
        assert can_exist(path), path
