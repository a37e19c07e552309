"""What all tests share: no network by accident, one thread per process, the browser to drive."""

from __future__ import annotations

import gc
import os
import re
import shutil
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hypothesis
import pytest

HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate")

# Set before anything is imported; processes that tests start inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `python -m trainer` does: threads that wait, sleep
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# A machine that is busy is no fault of what is tested.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


gc.disable()  # until all tests are imported: see trainer/importing


def pytest_collection_finish() -> None:
    """What the tests import is not searched for garbage, again and again."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes many minutes runs only where it is asked for: -m long, or -m parity for every recording."""
    if any(mark in (config.option.markexpr or "") for mark in ("long", "parity")):
        return
    kept = [item for item in items if "long" not in item.keywords]
    config.hook.pytest_deselected(items=[item for item in items if "long" in item.keywords])
    items[:] = kept


def lacks_torch(words: str) -> bool:
    """Whether an error says that PyTorch, or what is nothing without it, is not installed."""
    return not find_spec("torch") and bool(re.search(f"No module named '({'|'.join(HEAVY)})", words))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Without PyTorch, tests that need it are skipped (app/launch/second_runs.py)."""
    report = yield
    if report.failed and lacks_torch(str(report.longrepr)):
        report.outcome, report.longrepr = "skipped", (str(collector.path), 0, "needs PyTorch")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """As above, where the test itself imports it."""
    report = yield
    if report.failed and lacks_torch(str(report.longrepr)):
        report.outcome, report.longrepr = "skipped", (str(item.path), 0, "needs PyTorch")
    return report


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def browser_program() -> str:
    """The browser for Playwright's `executable_path`; the test is skipped where there is none."""
    program = (
        os.environ.get("LORA_ATELIER_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    )
    if not program:
        pytest.skip("no chromium: ./launch.sh test installs it")
    return program


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own, no keys in the environment."""
    for name in ("WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "APPDATA", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    return tmp_path / "home"
