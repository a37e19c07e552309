"""Run pip and say in plain words what it is doing; pip's own words go to the log. Standard library only."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

Say = Callable[..., str]

# What pip says when a person can mend it, most telling first; the codes are those of texts/launcher.
CAUSES = (
    ("launcher.disk_full", r"No space left on device|Errno 28\]|WinError 112\b|not enough space on the disk"),
    ("launcher.long_path", r"Windows Long Path support|WinError 206\b"),
    ("launcher.certificate", r"CERTIFICATE_VERIFY_FAILED|SSLError"),
    ("launcher.no_network", r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError"),
    ("launcher.no_network", r"Max retries exceeded|Connection aborted|IncompleteRead|Network is unreachable"),
    ("launcher.damaged_download", r"DO NOT MATCH THE HASHES|BadZipFile|has an invalid wheel"),
    ("launcher.locked", r"Permission denied|PermissionError|Access is denied|WinError (5|32)\b"),
    (
        "launcher.no_package",
        r"No matching distribution found|Could not find a version that satisfies|ResolutionImpossible",
    ),
)


DOWNLOADING = re.compile(r"\s*Downloading (?:\S*/)?(.+?)-(\d[^-]*)-\S+\.whl \(([\d.]+ \w+)\)")


class PipError(Exception):
    """pip failed; `code` says why in texts/launcher, `detail` is pip's last word on it."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


class ProgressLine:
    """One line that is rewritten on a terminal; whole lines, and fewer of them, in a pipe."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out
        self.live = out.isatty()
        self.text = ""
        self.shown = 0  # columns of the line on the screen
        self.since = time.monotonic()

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self.clear()
        print(text, file=self.out, flush=True)

    def update(self, text: str) -> None:
        """Replace the line that tells what is going on."""
        self.text = text
        self.draw()

    def draw(self) -> None:
        """Show the current line with the time it has taken, on a terminal."""
        if self.live and self.text:
            seconds = int(time.monotonic() - self.since)
            text = shortened(f"      {self.text}  {seconds // 60}:{seconds % 60:02}", columns=78)
            blank = " " * max(0, self.shown - width(text))
            print(f"\r{text}{blank}", end="", file=self.out, flush=True)
            self.shown = width(text)

    def clear(self) -> None:
        """Take the current line off the screen."""
        if self.shown:
            print(f"\r{' ' * self.shown}\r", end="", file=self.out, flush=True)
        self.text, self.shown, self.since = "", 0, time.monotonic()


def width(text: str) -> int:
    """Columns on a terminal: Japanese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def shortened(text: str, columns: int) -> str:
    """The text, cut so that it fits one line."""
    while width(text) > columns:
        text = text[:-1]
    return text


class Narrator:
    """Turns pip's lines into what a person wants to know."""

    def __init__(self, say: Say, progress: ProgressLine) -> None:
        self.say, self.progress = say, progress
        self.package, self.began = "", time.monotonic()

    def hear(self, line: str) -> None:
        """Show one line of pip's output, if it means something to a person."""
        if found := DOWNLOADING.match(line):
            self.downloading(*found.groups())
        elif found := re.match(r"Progress (\d+) of (\d+)$", line):
            self.downloaded(int(found[1]), int(found[2]))
        elif found := re.match(r"Collecting ([\w.-]+)", line):
            self.progress.update(self.say("launcher.looking_up", package=found[1]))
        elif found := re.match(r"Installing collected packages: (.+)", line):
            self.unpacking(count=found[1].count(",") + 1)

    def unpacking(self, count: int) -> None:
        """All is here; pip says nothing more until the end."""
        text = self.say("launcher.unpacking", count=count)
        self.progress.clear()
        self.progress.update(text)
        if count > 1 and not self.progress.live:
            self.progress.line(f"      {text}")

    def downloading(self, name: str, version: str, size: str) -> None:
        """A package begins to come; in a pipe only the large ones are worth a line."""
        self.package, self.began = f"{name} {version.replace('%2B', '+')}", time.monotonic()
        text = self.say("launcher.downloading", package=self.package, size=size)
        if self.progress.live:
            self.progress.update(text)
        elif size.endswith(("MB", "GB")) and float(size.split(maxsplit=1)[0]) >= 10:
            self.progress.line(f"      {text}")

    def downloaded(self, done: int, total: int) -> None:
        """Show how much of a download is here and how long the rest will take."""
        megabytes, of = done / 1e6, total / 1e6
        speed = megabytes / max(time.monotonic() - self.began, 0.1)  # MB/s
        text = f"{self.package}: {megabytes:,.0f} / {of:,.0f} MB ({100 * done // max(total, 1)} %)"
        left = (of - megabytes) / speed if speed else 0
        if left > 5:
            text += "  " + self.say("launcher.time_left", minutes=f"{int(left) // 60}:{int(left) % 60:02}")
        self.progress.update(text)


def run_pip(
    python: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    log: TextIO,
    narrator: Narrator,
    inherit: int,
) -> None:
    """Run `python -m pip …`; raises PipError with the cause. `inherit`: a file descriptor that pip keeps."""
    command = [str(python), "-u", "-m", "pip", "--no-input", *arguments]
    print("$", *command, file=log, flush=True)
    last: deque[str] = deque(maxlen=200)
    with subprocess.Popen(
        command,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        pass_fds=() if sys.platform == "win32" else (inherit,),
    ) as pip:
        stop = threading.Event()
        clock = threading.Thread(target=tick, args=(narrator.progress, stop), daemon=True)
        clock.start()
        try:
            for line in pip.stdout or ():
                if not line.startswith("Progress "):
                    print(line, end="", file=log, flush=True)
                    last.append(line.rstrip())
                narrator.hear(line.rstrip())
        except BaseException:
            pip.terminate()
            raise
        finally:
            stop.set()
            clock.join()
            narrator.progress.clear()
    if pip.returncode:
        raise pip_error(last)


def tick(progress: ProgressLine, stop: threading.Event) -> None:
    """Keep the clock on the line going while pip is silent."""
    while not stop.wait(1.0):
        progress.draw()


def pip_error(lines: Sequence[str]) -> PipError:
    """Why pip failed, read from what it printed."""
    text = "\n".join(lines)
    code = next((code for code, pattern in CAUSES if re.search(pattern, text)), "launcher.pip_failed")
    errors = [line.strip() for line in lines if re.match(r"\s*(ERROR|error)\b", line)]
    return PipError(code, (errors or [line for line in lines if line.strip()] or [""])[-1])
