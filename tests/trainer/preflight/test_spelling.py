"""Places that are written as nothing here reads them: web addresses and variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.found import expect
from tests.trainer.made import sound_settings
from trainer.files.paths import PATH_SETTINGS
from trainer.preflight.check import check

MODEL = "pretrained_model_name_or_path"


@pytest.mark.parametrize("key", PATH_SETTINGS)
def test_a_web_address_is_told_once_at_its_setting(key: str, tmp_path: Path):
    settings = sound_settings(tmp_path, **{key: "https://host.example/files/a.safetensors"})
    expect(settings, "preflight.path_web", setting=key, blocks=True)
    assert [problem.code for problem in check(settings).problems if problem.setting == key] == [
        "preflight.path_web"
    ]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://huggingface.co/owner/a-model.v1", "owner/a-model.v1"),
        ("https://huggingface.co/owner/name/tree/main", "owner/name"),
        ("https://huggingface.co/owner/name/resolve/main/model.safetensors", None),
    ],
)
def test_a_models_page_on_the_hub_becomes_its_name(address: str, name: str | None, tmp_path: Path):
    settings = sound_settings(tmp_path, **{MODEL: address})
    problem = expect(settings, "preflight.path_web", setting=MODEL, blocks=True)
    assert problem.fix == (name and {MODEL: name})


@pytest.mark.parametrize(
    ("path", "part"),
    [("$HOME/out", "$HOME"), ("a/$OUT/x", "$OUT"), ("%USERPROFILE%\\out", "%USERPROFILE%"),
     ("/tmp/a_$env:NAME", "$env:NAME")],
)  # fmt: skip
def test_a_variable_in_a_path_is_told(path: str, part: str, tmp_path: Path):
    settings = sound_settings(tmp_path, output_dir=path)
    problem = expect(settings, "preflight.path_variable", setting="output_dir", blocks=False)
    assert problem.values["part"] == part


def test_a_folder_that_is_called_so_is_taken_as_it_is(tmp_path: Path):
    (tmp_path / "$HOME" / "100%").mkdir(parents=True)
    for path in ("$HOME/new", "$HOME/100%/100% cats", "a $5 note"):
        settings = sound_settings(tmp_path, output_dir=str(tmp_path / path))
        assert not check(settings).problems
