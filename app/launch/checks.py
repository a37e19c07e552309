"""`launch.sh test`: what the tests need, then ruff, biome, pyright and pytest. Standard library only."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.launch import second_runs
from app.launch.words import say

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = "LORA_ATELIER_CHROMIUM"  # tells the tests which browser to start; unset: Playwright's own

SECOND_RUNS = "LORA_ATELIER_SECOND_RUNS"
"""Whether the quick tests run with other versions too: "0" no, "1" they must; else where these can be had."""


def run_all(root: Path, python: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Check everything, or run pytest alone with the arguments; returns the first failure's exit code."""
    browser = find_browser() or install_browser(python, root / "workspace" / "setup.log")
    install_japanese_font(root / "workspace" / "setup.log")
    # One thread per process: several processes on few cores are quicker that way.
    child = {"OMP_NUM_THREADS": "1", **environment, **({BROWSER: browser} if browser else {})}

    def run(module: str, *words: str) -> int:
        print(f"\n$ {module} {' '.join(words)}".rstrip(), flush=True)
        return subprocess.call([str(python), "-m", module, *words], cwd=root, env=child)

    if arguments:
        return run("pytest", *arguments)
    codes = {
        "ruff": run("ruff", "check", "."),
        "biome": check_assets(root, python),
        "pyright": run("pyright"),
    }
    for name, code in codes.items():
        if code:  # said here, because pytest's summary is to be the last line
            print(f"\n{say('launcher.check_failed', name=name)}", flush=True)
    workers = min(os.cpu_count() or 1, 4)
    wanted = os.environ.get(SECOND_RUNS, "")
    if wanted != "0" and second_runs.possible():
        codes |= second_runs.run_all(root, python, child, workers, must=bool(wanted))
    codes["pytest"] = run("pytest", *(["-n", str(workers), "--dist", "loadfile"] if workers > 1 else []))
    return next((code for code in codes.values() if code), 0)


def check_assets(root: Path, python: Path) -> int:
    """Format and rules of the page's script and style sheets (biome.json); its exit code."""
    biome = python.parent / ("biome.exe" if os.name == "nt" else "biome")
    if not biome.exists():  # there is none for this kind of machine
        print(f"\n{say('launcher.no_biome')}", flush=True)
        return 0
    print("\n$ biome ci", flush=True)
    return subprocess.call([str(biome), "ci", "--error-on-warnings", "--colors=off"], cwd=root)


def find_browser() -> str:
    """A browser that Playwright can drive, or ""."""
    return os.environ.get(BROWSER) or next(filter(None, map(shutil.which, BROWSERS)), "")


def install_browser(python: Path, log: Path) -> str:
    """Get a browser from Debian or, elsewhere, from Playwright; "" leaves the choice to Playwright."""
    print(say("launcher.browser"), flush=True)
    if "debian" in system_family() and apt_install(["chromium"], log) and (found := find_browser()):
        return found
    if logged([str(python), "-m", "playwright", "install", "chromium"], log):
        print(say("launcher.no_browser"), flush=True)
    return ""


def install_japanese_font(log: Path) -> None:
    """Screenshots of the Japanese page show boxes without one; other systems than Debian bring theirs."""
    if "debian" in system_family() and not any(Path("/usr/share/fonts").glob("**/*CJK*")):
        print(say("launcher.font"), flush=True)
        apt_install(["fonts-noto-cjk"], log)


def system_family() -> str:
    """The names of a Linux distribution and of those that it stems from: "ubuntu debian"."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return ""
    return f"{release.get('ID', '')} {release.get('ID_LIKE', '')}"


def apt_install(packages: Sequence[str], log: Path) -> bool:
    """Install Debian packages where we may without asking for a password."""
    may = os.name == "posix" and os.geteuid() == 0
    sudo = [] if may else ["sudo", "-n"]
    if not may and (not shutil.which("sudo") or logged([*sudo, "true"], log)):
        return False
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    logged([*sudo, *quiet, "update"], log)
    return logged([*sudo, *quiet, "install", "-y", "--no-install-recommends", *packages], log) == 0


def logged(command: Sequence[str], log: Path) -> int:
    """Run a command with its output in the log; returns its exit code, 127 if there is no such program."""
    log.parent.mkdir(exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        print("$", *command, file=file, flush=True)
        try:
            return subprocess.call(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        except OSError as error:
            print(error, file=file)
            return 127
