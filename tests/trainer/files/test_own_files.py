"""Where a job's next file goes: never in the place of what it has not written itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.files.own_files import MOST_TRIED, OwnFiles


@pytest.mark.parametrize(
    ("name", "second"), [("a.safetensors", "a-2.safetensors"), ("a.b-state", "a.b-2-state"), ("a", "a-2")]
)
def test_what_others_have_there_stays(name: str, second: str, tmp_path: Path):
    own = OwnFiles()
    assert own.place_for(tmp_path / name) == tmp_path / name
    (tmp_path / name).touch()
    assert own.place_for(tmp_path / name) == tmp_path / second
    (tmp_path / second).symlink_to(tmp_path / "gone")
    assert own.place_for(tmp_path / name).name == second.replace("2", "3")


def test_its_own_file_is_written_anew_in_its_place(tmp_path: Path):
    path, second = tmp_path / "a.safetensors", tmp_path / "a-2.safetensors"
    path.touch()
    second.touch()
    own = OwnFiles([second])
    assert own.place_for(path) == own.placed(path) == second
    own.add(path)
    assert own.place_for(path) == path
    own.discard(path)
    own.discard(second)
    assert own.placed(path) is None
    assert own.place_for(path).name == "a-3.safetensors"


def test_only_so_many_numbers_are_looked_at(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    assert OwnFiles([tmp_path / f"a-{MOST_TRIED}.safetensors"]).placed(path) is not None
    assert OwnFiles([tmp_path / f"a-{MOST_TRIED + 1}.safetensors"]).placed(path) is None
