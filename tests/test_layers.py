"""The architecture, kept by tests: which room imports which, where torch and Gradio are, functions' lengths.

A room is a folder of trainer/ or app/ (the files beside the folders are the ground). A room imports the rooms
before it, never one behind it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TRAINER = (
    "ground", "files", "families", "data", "lora", "judge", "plan", "kohya", "preflight",  # no torch
    "distributed", "models", "network", "training",  # torch
    "tools", "jobs",  # torch inside functions
)  # fmt: skip
APP = ("launch", "ground", "form", "dataset", "jobs", "answers", "page", "web")
WITH_TORCH = {"distributed", "models", "network", "training"}
WITH_GRADIO = {"page", "web"}
SOURCES = {
    path: ast.parse(path.read_text(encoding="utf-8"))
    for top in ("app", "trainer", "presets", "tests")
    for path in sorted((ROOT / top).rglob("*.py"))
}
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in SOURCES}


def of(top: str) -> list[Path]:
    return [path for path in SOURCES if path.is_relative_to(ROOT / top)]


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a file imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (
                name if (name := f"{node.module}.{alias.name}") in MODULES else node.module
                for alias in node.names
            )


def room(path: Path) -> str:
    parts: list[str] = list(path.relative_to(ROOT).parts)
    in_folder = len(parts) > 2 or parts[-1] == "__main__.py"
    return parts[1] if in_folder else "ground"


def climbing(top: str, rooms: tuple[str, ...]) -> list[str]:
    """Imports from a room that stands behind the importer's own."""
    order = {name: place for place, name in enumerate(rooms)}
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in of(top)
        for name in imports(SOURCES[path])
        if name in MODULES and MODULES[name].is_relative_to(ROOT / top)
        and order.get(room(MODULES[name]), 99) > order.get(room(path), 99)
    ]  # fmt: skip


def test_the_trainers_rooms_import_only_what_stands_before_them():
    assert not climbing("trainer", TRAINER)
    assert {room(path) for path in of("trainer")} == {*TRAINER, "__main__.py"}


def test_apps_rooms_import_only_what_stands_before_them():
    assert not climbing("app", APP)
    assert {room(path) for path in of("app")} == {*APP}


@pytest.mark.parametrize("top", ["trainer", "app"])
def test_no_circle_of_files(top: str):
    """Imports inside functions do not count: they are how a file at the top is called from below."""
    edges = {
        name: {
            other
            for node in SOURCES[path].body
            for other in imports(ast.Module([node], []))
            if other in MODULES and other != name
        }
        for name, path in MODULES.items()
        if path.is_relative_to(ROOT / top)
    }
    while leaves := {name for name, others in edges.items() if not others & edges.keys()}:
        edges = {name: others for name, others in edges.items() if name not in leaves}
    assert not edges


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


def names_in(top: str, rooms: Collection[str]) -> list[str]:
    return [name for name, path in MODULES.items() if path.is_relative_to(ROOT / top) and room(path) in rooms]


def test_no_app_module_loads_torch_and_only_page_and_web_load_gradio():
    assert "torch" not in loaded_by(*names_in("app", WITH_GRADIO))
    assert not {"torch", "gradio"} & loaded_by(*names_in("app", {*APP} - WITH_GRADIO))


def test_rooms_without_torch_load_none_and_no_room_of_the_trainer_loads_gradio():
    assert not {"torch", "gradio"} & loaded_by(*names_in("trainer", {*TRAINER} - WITH_TORCH))
    assert "gradio" not in loaded_by(*names_in("trainer", WITH_TORCH))


def test_no_module_of_app_imports_torch_and_none_of_trainer_gradio_even_lazily():
    def tops(path: Path) -> set[str]:
        return {name.split(".")[0] for name in imports(SOURCES[path])}

    assert not [path for path in of("app") if {"torch", "diffusers"} & tops(path)]
    assert not [path for path in of("app") if "gradio" in tops(path) and room(path) not in WITH_GRADIO]
    assert not [path for path in of("trainer") if {"gradio", "app"} & tops(path)]


def test_no_function_is_longer_than_80_lines():
    assert not [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 80
    ]
