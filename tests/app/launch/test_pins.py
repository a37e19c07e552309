"""constraints.txt: a version for every package that pyproject.toml names, on every Python."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from app.bootstrap import EXTRAS as OFFERED
from app.launch import venv
from app.launch.pins import EXTRAS, FILE, without_torch

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYTHONS = [f"3.{minor}" for minor in range(venv.OLDEST_PYTHON[1], venv.NEWEST_PYTHON[1] + 1)]
SYSTEMS = {"linux": "Linux", "win32": "Windows", "darwin": "Darwin"}


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def pinned(root: Path) -> list[Requirement]:
    lines = (root / FILE).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def wanted(project: dict[str, Any]) -> Iterator[Requirement]:
    """Everything but PyTorch and what goes with its build."""
    extras = [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    for line in (*project["dependencies"], *extras):
        if Requirement(line).name not in ("torch", "lora-atelier"):
            yield Requirement(line)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_each_package_has_one_tested_version_within_its_range(
    project: dict[str, Any], pinned: list[Requirement], python: str, system: str
):
    here = {
        "python_version": python, "python_full_version": f"{python}.0", "sys_platform": system,
        "platform_system": SYSTEMS[system], "platform_machine": "x86_64",
    }  # fmt: skip
    versions: dict[str, list[str]] = {}
    for pin in pinned:
        if pin.marker is None or pin.marker.evaluate(here):
            version = next(iter(pin.specifier)).version
            versions.setdefault(canonicalize_name(pin.name), []).append(version)
    assert all(len(found) == 1 for found in versions.values())
    for need in wanted(project):
        if need.marker is None or need.marker.evaluate(here):
            [version] = versions[canonicalize_name(need.name)]
            assert Version(version) in need.specifier, need


def test_pytorch_is_left_to_the_launcher(pinned: list[Requirement]):
    assert not [pin.name for pin in pinned if re.match("torch|triton|nvidia|cuda|xformers", pin.name)]
    assert without_torch(["torch==2", "nvidia-nccl-cu13==1", "cuda-toolkit==2", "torchao==1", "# x"]) == [
        "torchao==1"
    ]


def test_only_extras_that_exist_are_offered(project: dict[str, Any]):
    assert {*OFFERED, *EXTRAS} <= {*project["optional-dependencies"]}
