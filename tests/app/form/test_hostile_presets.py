"""Presets from strangers, through the page's own door: read or refused in a sentence, and nothing is run.

200 cases by default, the same each time. 2,000 others:
    .venv/bin/pytest -m long tests/app/form/test_hostile_presets.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.answers import Answers
from app.jobs.store import JobStore
from app.paths import Roots
from tests.app.conftest import FAKE, ask
from trainer.kohya.ages import KNOWN_KEYS
from trainer.settings import TRAINING

EVIL = (
    "../../../../etc/passwd",
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "\\\\host\\share\\x",
    "file:///etc/passwd",
    "os.system",
    "antigravity.fly",
    "__import__('os').mkdir('made')",
    "$(touch made)",
    "`touch made`",
    "; touch made",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "\x1b[2J",
    "\u202e",
    "\ud83d",
    "{project}/../x",
    "{0.__class__}",
    "%s%n",
    "a" * 5000,
    "1e999",
    "-1",
    "NaN",
    "١٢",
    "0x10",
    "\0",
    "nul",
    "con.json",
    "~root",
    "~",
)
KEYS = st.sampled_from(
    sorted({*TRAINING, *KNOWN_KEYS, "network_module", "optimizer_type", "train_data", "lora_atelier"})
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.sampled_from(EVIL)
    | st.text(max_size=30)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
PRESETS = st.dictionaries(KEYS | st.text(max_size=12), VALUES, max_size=14)
EVENTS = (
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "socket.connect",
)
_seen: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is not None and event in EVENTS:
        _seen.append(f"{event} {arguments}"[:200])


sys.addaudithook(_hook)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    folder = tmp_path_factory.mktemp("hostile")
    store = JobStore(folder / "workspace", FAKE)
    (store.workspace / "drafts").mkdir()
    return Answers(store, Roots((folder.resolve(),)))


@pytest.fixture(autouse=True)
def nothing_is_run() -> Iterator[None]:
    """No process and no connection is made, and no module of the presets' naming is imported."""
    global _seen  # noqa: PLW0603  # a hook cannot be removed again
    _seen = []
    yield
    seen, _seen = _seen, None
    assert not seen
    assert "antigravity" not in sys.modules
    assert not Path("made").exists()


def goes_through_the_page(answers: Answers, text: str) -> bool:
    """Loaded, looked at, turned into a command; every refusal is a sentence in either language.

    Returns whether nothing was refused as a whole.
    """
    went = True
    for language in ("en", "ja"):
        loaded = ask(answers, "load", text=text, name="x.json", lang=language)
        if "error" in loaded:
            assert loaded["error"]["what"]
            went = False
            continue
        values, carried = loaded["values"], loaded["carried"]
        assert set(values) == set(TRAINING)
        seen = ask(answers, "look", values=values, carried=carried, lang=language)
        assert "error" in seen or seen["bar"]["state"]
        made = ask(answers, "command", values=values, carried=carried, lang=language)
        assert made.get("ours") or made["error"]["what"]
        json.dumps([loaded, seen, made])
        went = went and "error" not in seen
    return went


def raw_form(answers: Answers, values: dict[str, Any]) -> None:
    """What a browser sends need not have come through a file."""
    seen = ask(answers, "look", values=values, lang="en")
    assert "error" in seen or seen["bar"]["state"]
    assert "job" not in ask(answers, "train", values=values, lang="ja"), "no such run can begin"


FUZZ: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
}


@settings(max_examples=200, derandomize=True, **FUZZ)
@given(preset=PRESETS)
def test_presets_of_strangers(answers: Answers, preset: dict[str, Any]):
    goes_through_the_page(answers, json.dumps(preset))
    raw_form(answers, preset)


@pytest.mark.long
@settings(max_examples=2000, **FUZZ)
@given(preset=PRESETS)
def test_two_thousand_presets_of_strangers(answers: Answers, preset: dict[str, Any]):
    goes_through_the_page(answers, json.dumps(preset))
    raw_form(answers, preset)


TEXT_FIELDS = [key for key, setting in TRAINING.items() if setting.kind == "text"]


@pytest.mark.parametrize("first", range(0, len(TEXT_FIELDS), 6))
def test_every_text_field_takes_every_evil_text(answers: Answers, first: int):
    fields = TEXT_FIELDS[first : first + 6]
    for start in range(len(EVIL)):
        texts = {key: EVIL[(start + number) % len(EVIL)] for number, key in enumerate(fields)}
        preset = {"LoRA_type": "Standard", "epoch": 1}
        if goes_through_the_page(answers, json.dumps(preset | texts)):
            continue
        for key, text in texts.items():  # what is refused for one field says nothing of the others
            goes_through_the_page(answers, json.dumps(preset | {key: text}))


TEXTS = {
    "huge": '{"epoch": "' + "x" * 3_000_000 + '"}',
    "many keys": json.dumps({f"key{number}": number for number in range(50_000)}),
    "deep": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "deep list": '{"a":' + "[" * 100_000 + "]" * 100_000 + "}",
    "twice": '{"epoch": 1, "epoch": 2}',
    "not a number": '{"learning_rate": NaN}',
    "infinite": '{"learning_rate": -Infinity}',
    "a giant number": '{"epoch": ' + "9" * 100_000 + "}",
    "a list": "[1]",
    "nothing": "",
    "zeros": "\0" * 100,
    "half a letter": '{"output_name": "\\ud800"}',
    "deep toml": "a = " + "[" * 5000 + "]" * 5000,
    "toml twice": "epoch = 1\nepoch = 2",
    "an open quote": "accelerate launch train_network.py --network_dim='4",
    "a shell": "accelerate launch train_network.py --network_dim=4; touch made && $(touch made)",
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_are_no_presets(answers: Answers, name: str):
    goes_through_the_page(answers, TEXTS[name])


@pytest.mark.parametrize(
    "request_", [[], 5, None, {"values": []}, {"values": {"epoch": {}}}, {"path": {}}, {"lang": []}]
)
@pytest.mark.parametrize(
    "question", ["look", "load", "save", "preset", "command", "find", "complete", "secret", "live"]
)
def test_requests_of_another_shape(answers: Answers, question: str, request_: Any):
    json.dumps(answers.questions[question](request_))
    assert not (Path(answers.store.workspace) / "configs").exists()
