"""Which build of PyTorch fits this machine: facts in, choice out. Standard library only.

PyPI serves one build per system: CUDA 13.0 on Linux (x86_64), processor only on Windows, Metal on Apple
silicon. Everything else comes from PyTorch's own wheel index, where the build is part of the version
(2.13.0+cu126).
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path

from app.launch.words import SetupError

TORCH = "2.13.0"
WHEELS = "https://download.pytorch.org/whl"

# Oldest driver for CUDA 13.x and 12.x: table 2 of the CUDA toolkit's release notes.
CUDA_13_DRIVER = (580,)
CUDA_12_DRIVER = {"linux": (525, 60, 13), "windows": (528, 33)}
# Compute capabilities: CUDA 13 dropped all before Turing, the CUDA 12.6 build knows none from Blackwell on.
OLDEST_CARD, TURING, BLACKWELL = (5, 0), (7, 5), (10, 0)

ROCM = "rocm7.2"
ROCM_CARDS = frozenset({
    "gfx900", "gfx906", "gfx908", "gfx90a", "gfx942", "gfx950", "gfx1030", "gfx1100", "gfx1101", "gfx1102",
    "gfx1150", "gfx1151", "gfx1200", "gfx1201",
})  # fmt: skip

# Gigabytes: to download, and taken by the finished .venv. Rounded up; shown as "about".
DOWNLOAD_GB = {"cpu": (0.3, 3.0), "mps": (0.2, 3.0), "cuda": (3.0, 9.0), "rocm": (5.0, 22.0)}


@dataclass(frozen=True)
class Computer:
    """What matters for the choice. `compute_capability` is that of the best card."""

    system: str  # "linux", "windows", "darwin"
    arch: str  # "x86_64", "arm64"
    nvidia_driver: tuple[int, ...] = ()  # empty: no NVIDIA driver
    compute_capability: tuple[int, int] = (0, 0)  # (0, 0): unknown
    amd_card: str = ""  # "gfx1100"; empty: none


@dataclass(frozen=True)
class TorchBuild:
    """What to ask pip for. `index` is empty for the default index; `notices` are codes in texts/launcher."""

    name: str  # "cpu", "cu126", "cu130", "rocm7.2", "mps"
    requirement: str
    index: str = ""
    notices: tuple[str, ...] = ()

    @property
    def gigabytes_to_download(self) -> float:
        """Roughly."""
        return DOWNLOAD_GB[self.kind][0]

    @property
    def gigabytes_on_disk(self) -> float:
        """Roughly, of the finished .venv."""
        return DOWNLOAD_GB[self.kind][1]

    @property
    def kind(self) -> str:
        """One of cuda, rocm, cpu and mps."""
        return {"cu": "cuda", "ro": "rocm", "mp": "mps"}.get(self.name[:2], "cpu")


def choose_build(machine: Computer, wanted: str = "") -> TorchBuild:
    """The build that fits; `wanted` ("cpu", "cu126", …) overrides what was detected. Raises SetupError."""
    if machine.system == "darwin":
        if machine.arch != "arm64":
            raise SetupError("launcher.intel_mac")
        return TorchBuild("mps", f"torch=={TORCH}")
    if wanted:
        return build(wanted, machine)
    if machine.nvidia_driver:
        return cuda_build(machine)
    if machine.amd_card and machine.system == "linux":
        if machine.amd_card in ROCM_CARDS:
            return build(ROCM, machine)
        return replace(build("cpu", machine), notices=("launcher.amd_card_unknown",))
    return replace(build("cpu", machine), notices=("launcher.no_gpu",))


def cuda_build(machine: Computer) -> TorchBuild:
    """CUDA 13.0 where card and driver allow it, CUDA 12.6 for older ones."""
    card, driver = machine.compute_capability, machine.nvidia_driver
    if (0, 0) < card < OLDEST_CARD:
        return replace(build("cpu", machine), notices=("launcher.card_too_old",))
    if (0, 0) < card < TURING:
        fits = driver >= CUDA_12_DRIVER[machine.system]
        return replace(build("cu126", machine), notices=() if fits else ("launcher.driver_too_old",))
    if driver >= CUDA_13_DRIVER:
        return build("cu130", machine)
    if card < BLACKWELL and driver >= CUDA_12_DRIVER[machine.system] and machine.arch == "x86_64":
        return build("cu126", machine)
    # After the driver's update, which is needed in any case, this build works without a new installation.
    return replace(build("cu130", machine), notices=("launcher.driver_too_old",))


def build(name: str, machine: Computer) -> TorchBuild:
    """The named build as this system gets it."""
    on_pypi = "cu130" if (machine.system, machine.arch) == ("linux", "x86_64") else ""
    if machine.system == "windows":
        on_pypi = "cpu"
    if name == on_pypi:
        # "===" refuses 2.13.0+cpu, which "==" takes for the same: a card bought later gets its build.
        return TorchBuild(name, f"torch==={TORCH}")
    return TorchBuild(name, f"torch=={TORCH}+{name}", f"{WHEELS}/{name}")


def default_build(machine: Computer, instead_of: TorchBuild) -> TorchBuild:
    """What the default index has, for when PyTorch's index cannot be reached."""
    name = "cu130" if (machine.system, machine.arch) == ("linux", "x86_64") else "cpu"
    notices = () if instead_of.name == "cpu" else ("launcher.build_unreachable",)
    return TorchBuild(name, f"torch=={TORCH}", notices=notices)


def reachable(index: str) -> bool:
    """Whether PyTorch's index answers. A refused certificate counts: pip has its own and may succeed."""
    request = urllib.request.Request(f"{index}/torch/", method="HEAD")  # noqa: S310  # https, from WHEELS
    try:
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310  # see above
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError) as error:
        return "CERTIFICATE_VERIFY_FAILED" in str(error)


def look_at_machine() -> Computer:
    """The facts of the machine we run on."""
    driver, capability = nvidia_facts()
    return Computer(platform.system().lower(), arch(), driver, capability, amd_card())


def arch() -> str:
    """The processor's kind in one spelling for all systems."""
    name = platform.machine().lower()
    return {"amd64": "x86_64", "aarch64": "arm64"}.get(name, name)


def nvidia_facts() -> tuple[tuple[int, ...], tuple[int, int]]:
    """Driver version and the best card's compute capability: () and (0, 0) where there is no driver."""
    for query in ("driver_version,compute_cap", "driver_version"):  # drivers before 510 know no compute_cap
        answer = ask_nvidia_smi(query)
        if answer:
            return read_nvidia_smi(answer)
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return (), (0, 0)
    found = re.search(r"\b(\d{3,}(?:\.\d+)+)\b", text)
    return (numbers(found[1]) if found else ()), (0, 0)


def ask_nvidia_smi(query: str) -> str:
    """What nvidia-smi prints, or "" where it is missing or finds no card."""
    program = find_nvidia_smi()
    if not program:
        return ""
    command = [program, f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def find_nvidia_smi() -> str:
    """The path of nvidia-smi, also where it is not on the PATH (WSL, old Windows drivers)."""
    places = ("/usr/lib/wsl/lib/nvidia-smi", r"C:\Program Files\NVIDIA Corporation\NVSMI\nvidia-smi.exe")
    return shutil.which("nvidia-smi") or next((place for place in places if Path(place).is_file()), "")


def read_nvidia_smi(answer: str) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Read lines like "580.65.06, 8.6" (one per card)."""
    rows = [[numbers(cell) for cell in line.split(",")] for line in answer.splitlines() if line.strip()]
    drivers = [row[0] for row in rows if row[0]]
    capabilities = [(row[1][0], row[1][1]) for row in rows if len(row) > 1 and len(row[1]) == 2]
    return (drivers[0] if drivers else ()), max(capabilities, default=(0, 0))


def numbers(text: str) -> tuple[int, ...]:
    """The numbers of a dotted version; () for "[N/A]"."""
    parts = text.strip().split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


def amd_card(topology: Path = Path("/sys/class/kfd/kfd/topology/nodes")) -> str:
    """The first AMD card that the Linux driver offers for computing, as "gfx1100"; "" if none."""
    for properties in sorted(topology.glob("*/properties")):
        try:
            text = properties.read_text(encoding="utf-8")
        except OSError:
            continue
        found = re.search(r"^gfx_target_version (\d+)$", text, re.MULTILINE)
        if found and (version := int(found[1])):  # 0: the processor's own node
            return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"
    return ""
