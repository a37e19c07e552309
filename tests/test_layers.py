"""The architecture, kept by tests: which layer may import what, and how long functions may get."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
APP = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "app").rglob("*.py")
    if path.name != "__init__.py"
)
TORCH_FREE = (
    "settings", "kohya", "preflight", "images", "captions", "buckets", "plan", "events", "errors", "messages",
    "sample_prompts", "lora_info", "lora_readers", "job_folder", "lr_schedule",
    "extract", "lora_types", "lora_shapes", "start_file",
)  # fmt: skip


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages in memory after importing modules in a fresh interpreter."""
    program = (
        f"import sys; import {', '.join(modules)}; print(*{{name.split('.')[0] for name in sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_no_app_module_loads_torch():
    assert "torch" not in loaded_by(*APP)


def test_torch_free_trainer_modules_and_the_command_line_stay_so():
    modules = (*(f"trainer.{name}" for name in TORCH_FREE), "trainer.__main__")
    assert not {"torch", "gradio"} & loaded_by(*modules)


def test_the_trainer_never_loads_gradio():
    assert "gradio" not in loaded_by("trainer.training.loop", "trainer.jobs.run", "trainer.__main__")


def test_no_function_is_longer_than_80_lines():
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for folder in ("app", "trainer", "presets", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 80
    ]
    assert not long


def test_no_module_of_app_imports_torch_and_none_of_trainer_gradio_even_lazily():
    def imports(path: Path) -> set[str]:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        plain = {
            alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names
        }
        return plain | {
            (node.module or "").split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)
        }

    assert not [path for path in (ROOT / "app").rglob("*.py") if {"torch", "diffusers"} & imports(path)]
    assert not [path for path in (ROOT / "trainer").rglob("*.py") if {"gradio", "app"} & imports(path)]
