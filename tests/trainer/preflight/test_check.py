"""The checks as a whole: sound settings pass, both languages are complete, nothing heavy is loaded."""

from __future__ import annotations

import json
import re
import string
import subprocess
import sys
from pathlib import Path

from tests.trainer.made import image_folder, picture, sound_settings, sound_values
from trainer.messages import LANGUAGES, texts
from trainer.preflight.check import check, check_values
from trainer.settings import TRAINING, Settings

ROOT = Path(__file__).parents[3]
SOURCES = sorted((ROOT / "trainer").rglob("*.py"))


def test_sound_settings_have_no_problems(tmp_path):
    found = check(sound_settings(tmp_path))
    assert found.problems == ()
    assert not found.blocked
    assert found.plan is not None
    assert (found.plan.images, found.plan.total_steps) == (4, 40)


def test_problems_that_stop_the_run_come_first(tmp_path):
    found = check(sound_settings(tmp_path, network_alpha=99, unet_lr=0, text_encoder_lr=0))
    assert [problem.blocks for problem in found.problems] == sorted(
        (problem.blocks for problem in found.problems), reverse=True
    )
    assert found.blocked


def test_pasted_paths_are_understood(tmp_path):
    values = sound_values(tmp_path)
    values["train_data_dir"] = f' "{values["train_data_dir"]}" '
    settings, found = check_values(values)
    assert found.problems == ()
    assert settings is not None
    assert settings.folders.train_data_dir == str(tmp_path / "img")
    assert check(Settings.from_flat(values)).problems == ()


def test_a_blocked_run_shows_the_plan_after_its_fixes(tmp_path):
    values = sound_values(tmp_path) | {"train_data_dir": str(tmp_path / "img" / "10_sks cat")}
    found = check(Settings.from_flat(values))
    assert found.blocked
    assert found.plan is not None
    assert found.plan.total_steps == 40
    assert found.assumed == ("train_data_dir",)


def test_without_pictures_or_fix_there_is_no_plan(tmp_path):
    found = check(sound_settings(tmp_path, train_data_dir=""))
    assert (found.plan, found.assumed) == (None, ())


def test_the_same_settings_are_checked_without_reading_again(tmp_path, monkeypatch):
    settings = sound_settings(tmp_path)
    first = check(settings)

    def no_reading(path: Path):
        raise AssertionError(path)

    monkeypatch.setattr("trainer.data.picture_files.read_picture_header", no_reading)
    monkeypatch.setattr("trainer.families.detect.read_shapes", no_reading)
    assert check(settings) == first


def test_an_added_picture_changes_the_plan(tmp_path):
    settings = sound_settings(tmp_path)
    assert check(settings).plan.images == 4  # pyright: ignore[reportOptionalMemberAccess]  # nothing blocks
    picture(tmp_path / "img/10_sks cat/new.png")
    assert check(settings).plan.images == 5  # pyright: ignore[reportOptionalMemberAccess]  # nothing blocks


def test_the_checks_load_nothing_heavy(tmp_path):
    values = json.dumps(sound_values(tmp_path))
    code = (
        "import json, sys; from trainer.preflight import check as preflight;"
        f"found = preflight.check_values(json.loads({values!r}))[1];"
        "assert found.plan.total_steps == 40, found;"
        "heavy = {'torch', 'gradio', 'diffusers', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def said_codes() -> set[str]:
    return {
        code
        for code in texts("en")["messages"]
        if code.startswith(("preflight.", "plan.", "pictures.", "latents."))
    }


def test_every_code_in_the_sources_has_its_sentences():
    for source in SOURCES:
        text = source.read_text(encoding="utf-8")
        for code in re.findall(r'"((?:preflight|plan|pictures|latents)\.[a-z0-9_]+)"', text):
            assert code in said_codes(), (source.name, code)


def test_every_sentence_has_a_code_in_the_sources():
    everywhere = (*SOURCES, *(ROOT / "app").rglob("*.py"))
    written = "\n".join(source.read_text(encoding="utf-8") for source in everywhere)
    patterns = [re.escape(code) for code in re.findall(r'f?"((?:preflight|plan)\.[a-z0-9_{}.:]+)"', written)]
    patterns = [re.sub(r"\\\{.*?\\\}", "[a-z0-9_]+", pattern) for pattern in patterns]
    for code in said_codes():
        if code.startswith(("preflight.", "plan.")):
            assert any(re.fullmatch(pattern, code) for pattern in patterns), code


def test_both_languages_say_the_same_things():
    english, japanese = (texts(language)["messages"] for language in LANGUAGES)
    for code in said_codes():
        fields = [
            {name: set(placeholders(text)) for name, text in said[code].items()}
            for said in (english, japanese)
        ]
        assert fields[0].keys() == fields[1].keys(), code
        for name in fields[0]:
            if name == "what":
                assert fields[0][name] == fields[1][name], (code, name)


def placeholders(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]


def test_settings_named_in_sentences_are_spelled_as_their_labels():
    labels = {setting.spec.label for setting in TRAINING.values()}
    for language in LANGUAGES:
        for code in said_codes():
            for text in texts(language)["messages"][code].values():
                for name in re.findall(r"\*\*(.+?)\*\*", text):
                    assert name == "{label}" or name in labels, (language, code, name)


def test_a_thousand_pictures_are_planned(tmp_path):
    """Not a matter of time but of getting everything: one file is copied a thousand times."""
    image_folder(tmp_path / "img", 1)
    data = (tmp_path / "img/10_sks cat/0.png").read_bytes()
    for number in range(1, 1000):
        (tmp_path / f"img/10_sks cat/{number}.png").write_bytes(data)
    found = check(sound_settings(tmp_path, train_batch_size=4))
    assert found.plan is not None
    assert found.plan.images == 1000
    assert found.plan.total_steps == 2500
