"""Saving and loading is the identity; no input, however hostile, ends in a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer.settings_strategies import ALL_SETTINGS
from trainer.errors import UserError
from trainer.files.reading import MOST_BYTES
from trainer.kohya import (
    Imported,
    from_sd_scripts,
    read,
    read_text,
    report_lines,
    sd_scripts_command,
    to_kohya,
)
from trainer.kohya.ages import KNOWN_KEYS
from trainer.kohya.sd_defaults import DEFAULTS
from trainer.kohya.write_kohya import OURS
from trainer.messages import LANGUAGES
from trainer.settings import Settings

EXAMPLES = settings(max_examples=60)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10)
    | st.sampled_from(["0", "", "1.0", "1e-4 ", "nan", "inf", "-1", "True", "9" * 40])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.text(max_size=8)


@EXAMPLES
@given(ALL_SETTINGS)
def test_saving_and_loading_changes_nothing(run: Settings) -> None:
    imported = read(json.loads(json.dumps(to_kohya(run))))
    assert imported.settings == run
    assert imported.report.source == "lora_atelier"
    assert imported.report.attention == ()


@EXAMPLES
@given(ALL_SETTINGS)
def test_a_jobs_settings_are_read_as_they_are(run: Settings) -> None:
    assert read(json.loads(json.dumps(run.flat()))).settings == run


@EXAMPLES
@given(ALL_SETTINGS)
def test_kohya_itself_would_read_the_same_where_it_can(run: Settings) -> None:
    """Without our extra key the file is kohya_ss's; only what it cannot say may differ."""
    file = to_kohya(run)
    del file["lora_atelier"]
    plain = read({**file, "t5xxl_lr": 0}).settings
    differing = {key for key, value in run.flat().items() if plain.get(key) != value}
    cannot_say = {*OURS, "model_list"}
    both_off = run.optimizer.unet_lr == run.optimizer.text_encoder_lr == 0
    if run.optimizer.learning_rate == 0 or both_off:
        cannot_say |= {"unet_lr", "text_encoder_lr"}
    if run.noise.noise_offset_type == "Both":
        cannot_say |= {"noise_offset_type"}
        assert plain.get("noise_offset_type") == "Multires"
    assert differing <= cannot_say | {"seed", "unet_lr", "text_encoder_lr"}
    if "seed" in differing:
        assert run.length.seed == 0
    if isinstance(two := run.optimizer.text_encoder_lr, tuple):
        assert plain.get("text_encoder_lr") in (*two, None), "one of two rates"
        cannot_say |= {"text_encoder_lr"}
    for key in {"unet_lr", "text_encoder_lr"} & differing - cannot_say:
        assert run.get(key) is None
        assert plain.get(key) == run.optimizer.learning_rate, "the base rate in numbers: the same run"


def check(imported: Imported, given_keys: dict[str, Any]) -> None:
    """A complete report in both languages; settings that can be saved and handed on."""
    keys = {entry.key for entry in imported.report.entries}
    assert set(given_keys) <= keys | {key.partition(" ")[0] for key in keys}
    for language in LANGUAGES:
        assert report_lines(imported.report, language)
        json.dumps(imported.as_json(language))
    sd_scripts_command(imported.settings, imported.carried)
    again = read(json.loads(json.dumps(to_kohya(imported.settings, imported.carried))))
    assert again.settings.flat() == imported.settings.flat()


def _check_or_refuse(attempt: Callable[[], Imported], given_keys: dict[str, Any]) -> None:
    try:
        imported = attempt()
    except UserError as refused:
        imported, words = None, str(refused)
    else:
        words = ""
    if imported is None:
        assert words
    else:
        check(imported, given_keys)


@EXAMPLES
@given(st.dictionaries(st.sampled_from(sorted(KNOWN_KEYS | {"lora_atelier"})) | KEYS, VALUES, max_size=40))
def test_any_json_is_read_or_refused_in_words(data: dict[str, Any]) -> None:
    _check_or_refuse(lambda: read(data), data)


@EXAMPLES
@given(st.dictionaries(st.sampled_from(sorted(DEFAULTS)) | KEYS, VALUES, max_size=40))
def test_any_sd_scripts_options_are_read(options: dict[str, Any]) -> None:
    check(from_sd_scripts(options), options)


@EXAMPLES
@given(st.text(max_size=200) | st.text("-= \"'\\^`\n{}[]#train_network.py", max_size=80))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    for name in ("a.json", "a.toml", ""):
        _check_or_refuse(lambda name=name: read_text(text, name), {})


HOSTILE = {
    "huge number": ('{"network_dim": ' + "9" * 5000 + "}", "kohya.no_such_format"),
    "deep lists": ('{"network_dim": ' + "[" * 100_000 + "]" * 100_000 + "}", "kohya.too_deep"),
    "deep but parsable": ('{"network_dim": ' + "[" * 50 + "]" * 50 + "}", "kohya.too_deep"),
    "NaN": ('{"network_dim": NaN}', "kohya.no_such_format"),
    "infinity by exponent": ('{"network_alpha": 1e999}', "kohya.no_such_format"),
    "key twice": ('{"network_dim": 4, "network_dim": 8}', "kohya.key_twice"),
    "a list": ("[1, 2]", "kohya.no_object"),
    "nothing": ("   ", "kohya.empty"),
    "no settings": ('{"a": 1}', "kohya.no_known_key"),
    "cut off": ('{"network_dim": 4, "net', "kohya.no_such_format"),
    "many keys": ("{" + ",".join(f'"k{n}": 1' for n in range(4000)) + "}", "kohya.too_many_keys"),
    "zero bytes": ('{"network_dim": 4}\x00', "kohya.not_text"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_refused_in_words(name: str, tmp_path: Path) -> None:
    text, code = HOSTILE[name]
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read(path)
    assert caught.value.message.code == code
    assert "a.json" in str(caught.value) or code == "kohya.no_known_key"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("network_dim = nan\n", "kohya.not_finite"), ("a = 1\na = 2\n", "kohya.no_such_format"),
        ("a = " + "[" * 5000 + "]" * 5000 + "\n", "kohya.too_deep"), ("hello\n", "kohya.no_such_format"),
    ],
)  # fmt: skip
def test_hostile_toml_is_refused_in_words(text: str, code: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read(path)
    assert caught.value.message.code == code


def test_files_that_cannot_be_read_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "large.json").write_bytes(b" " * (MOST_BYTES + 1))
    (tmp_path / "binary.json").write_bytes(bytes(range(128, 256)))
    (tmp_path / "lora.ckpt").write_bytes(b"\x80\x02")
    (tmp_path / "folder.json").mkdir()
    codes = {}
    for name in ("large.json", "binary.json", "lora.ckpt", "folder.json", "gone.json"):
        with pytest.raises(UserError) as caught:
            read(tmp_path / name)
        codes[name] = caught.value.message.code
    assert codes == {
        "large.json": "kohya.too_large", "binary.json": "kohya.not_text", "lora.ckpt": "kohya.pickle",
        "folder.json": "kohya.no_file", "gone.json": "kohya.no_file",
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932"])
def test_encodings_that_windows_writes(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "猫.json"
    path.write_bytes('{"network_dim": 4, "output_name": "猫"}'.encode(encoding))
    assert read(path).settings.folders.output_name == "猫"


def test_importing_settings_loads_no_torch(root: Path) -> None:
    code = "import trainer.kohya, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
