"""Machine facts in, PyTorch build out."""

from __future__ import annotations

import http.server
import os
import re
import socket
import threading
from pathlib import Path

import pytest

from app.launch import torch_build
from app.launch.torch_build import TORCH, Computer, choose_build
from app.launch.words import SetupError

LINUX, WINDOWS = ("linux", "x86_64"), ("windows", "x86_64")
WHEELS = "https://download.pytorch.org/whl"


def test_the_release_is_the_one_that_pyproject_pins(root: Path) -> None:
    pinned = re.search(r'"torch==([\d.]+)"', (root / "pyproject.toml").read_text(encoding="utf-8"))
    assert pinned
    assert pinned[1] == TORCH


@pytest.mark.parametrize(
    ("machine", "requirement", "index", "notices"),
    [
        pytest.param(Computer(*LINUX), "==2.13.0+cpu", "/cpu", ("no_gpu",), id="linux without a card"),
        pytest.param(Computer(*WINDOWS), "===2.13.0", "", ("no_gpu",), id="windows without a card: PyPI's"),
        pytest.param(Computer("darwin", "arm64"), "==2.13.0", "", (), id="apple silicon"),
        pytest.param(
            Computer(*LINUX, (580, 65, 6), (8, 6)), "===2.13.0", "", (), id="linux RTX 3060: PyPI's"
        ),
        pytest.param(
            Computer(*WINDOWS, (581, 29), (8, 6)), "==2.13.0+cu130", "/cu130", (), id="windows RTX 3060"
        ),
        pytest.param(
            Computer("linux", "arm64", (580, 95), (12, 1)), "==2.13.0+cu130", "/cu130", (), id="DGX Spark"
        ),
        pytest.param(
            Computer(*WINDOWS, (566, 24), (8, 9)), "==2.13.0+cu126", "/cu126", (), id="driver before 580"
        ),
        pytest.param(
            Computer(*LINUX, (550, 120), (8, 9)), "==2.13.0+cu126", "/cu126", (), id="the same, linux"
        ),
        pytest.param(Computer(*WINDOWS, (581, 29), (6, 1)), "==2.13.0+cu126", "/cu126", (), id="GTX 1080"),
        pytest.param(Computer(*LINUX, (580, 65), (7, 0)), "==2.13.0+cu126", "/cu126", (), id="V100"),
        pytest.param(Computer(*LINUX, (580, 65), (12, 0)), "===2.13.0", "", (), id="RTX 5090"),
        pytest.param(Computer(*LINUX, (535, 183)), "==2.13.0+cu126", "/cu126", (), id="unknown card"),
        pytest.param(
            Computer(*WINDOWS, (572, 16), (12, 0)),
            "==2.13.0+cu130",
            "/cu130",
            ("driver_too_old",),
            id="RTX 5090 with an old driver",
        ),
        pytest.param(
            Computer(*WINDOWS, (472, 12), (8, 6)),
            "==2.13.0+cu130",
            "/cu130",
            ("driver_too_old",),
            id="driver before CUDA 12",
        ),
        pytest.param(
            Computer(*WINDOWS, (474, 30), (3, 5)),
            "===2.13.0",
            "",
            ("card_too_old",),
            id="GTX 780: too old for any",
        ),
        pytest.param(Computer(*LINUX, amd_card="gfx1100"), "==2.13.0+rocm7.2", "/rocm7.2", (), id="RX 7900"),
        pytest.param(
            Computer(*LINUX, amd_card="gfx803"), "==2.13.0+cpu", "/cpu", ("amd_card_unknown",), id="RX 480"
        ),
        pytest.param(
            Computer(*LINUX, (580, 65), (8, 6), "gfx1036"),
            "===2.13.0",
            "",
            (),
            id="NVIDIA beside AMD's small one",
        ),
    ],
)
def test_the_build_fits_the_machine(
    machine: Computer, requirement: str, index: str, notices: tuple[str, ...]
) -> None:
    build = choose_build(machine)
    assert build.requirement == f"torch{requirement}"
    assert build.index == (f"{WHEELS}{index}" if index else "")
    assert build.notices == tuple(f"launcher.{notice}" for notice in notices)


def test_a_person_can_overrule_the_choice() -> None:
    assert choose_build(Computer(*LINUX, (580, 65), (8, 6)), "cpu").requirement == "torch==2.13.0+cpu"


def test_an_intel_mac_is_told_that_it_cannot() -> None:
    with pytest.raises(SetupError, match="Apple"):
        choose_build(Computer("darwin", "x86_64"))


def test_only_losing_the_card_is_worth_a_notice_when_the_index_is_out_of_reach() -> None:
    for machine, notices in (
        (Computer(*LINUX), ()),
        (Computer(*WINDOWS, (581, 29), (8, 6)), ("launcher.build_unreachable",)),
    ):
        stand_in = torch_build.default_build(machine, choose_build(machine))
        assert (stand_in.requirement, stand_in.index, stand_in.notices) == ("torch==2.13.0", "", notices)


def test_the_best_of_several_cards_counts() -> None:
    assert torch_build.read_nvidia_smi("560.35.03, 6.1\n560.35.03, 8.6\n") == ((560, 35, 3), (8, 6))


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for nvidia-smi is a shell script")
@pytest.mark.parametrize(
    ("script", "facts"),
    [
        ("echo '580.65.06, 8.9'", ((580, 65, 6), (8, 9))),
        ("case $1 in *compute_cap*) exit 6;; esac; echo '470.223.02'", ((470, 223, 2), (0, 0))),
        ("echo '580.65.06, [N/A]'", ((580, 65, 6), (0, 0))),
    ],
    ids=["today's", "an old one", "a card that does not tell"],
)
def test_nvidia_smi_is_read(
    script: str, facts: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert torch_build.nvidia_facts() == facts


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for nvidia-smi is a shell script")
@pytest.mark.skipif(Path("/proc/driver/nvidia/version").exists(), reason="this machine has a driver")
def test_nvidia_smi_without_a_driver_means_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert torch_build.nvidia_facts() == ((), (0, 0))


@pytest.mark.parametrize(("version", "name"), [(110000, "gfx1100"), (90010, "gfx90a"), (100306, "gfx1036")])
def test_amd_cards_are_named_as_rocm_names_them(version: int, name: str, tmp_path: Path) -> None:
    for node, target in enumerate((0, version)):  # node 0 is the processor
        (tmp_path / str(node)).mkdir()
        text = f"cpu_cores_count 8\ngfx_target_version {target}\n"
        (tmp_path / str(node) / "properties").write_text(text, encoding="utf-8")
    assert torch_build.amd_card(tmp_path) == name
    assert not torch_build.amd_card(tmp_path / "0")


def test_reachable_asks_the_server() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert torch_build.reachable(f"http://127.0.0.1:{server.server_port}/whl/cpu")
        server.shutdown()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, but nobody listens
        assert not torch_build.reachable(f"http://127.0.0.1:{unused.getsockname()[1]}/whl/cpu")


class Quiet(http.server.BaseHTTPRequestHandler):
    """Answers 404, as a mirror does that has no such page: the server is there."""

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        pass
