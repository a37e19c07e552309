"""The folders that the page may use, and completion of paths within them.

Allowed: home, the project, the workspace, drives and mounts, and what --root adds; with --listen only the
workspace, the project's presets and what --root adds. Hidden files and folders stay out, links are
followed before a path is judged.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import psutil

from trainer.files.job_folder import PROJECT, default_workspace
from trainer.files.roots import Roots, hidden_name, is_link

ASSETS = Path(__file__).parent / "assets"
"""The page's scripts, styles and pictures."""
PathKind = Literal["any", "file", "folder", "model"]
OFFERED_ENDINGS: dict[str, tuple[str, ...]] = {
    "model": (".safetensors", ".ckpt"),
    "settings": (".json", ".toml", ".safetensors"),
    "lora": (".safetensors", ".ckpt", ".pt"),
    "file": (),
}
"""Which files are offered for a kind; folders always, to go through them."""
MOST_LOOKED_AT = 60
SCANNED = 5000
"""Entries looked at in one folder."""


def default_roots(
    workspace: Path | None = None, added: Sequence[Path] = (), *, beyond: bool = False
) -> Roots:
    """The allowed folders. `added` come from --root; `beyond`: other machines may use the page (--listen)."""
    own = [workspace or default_workspace()]
    usual = [*own, PROJECT / "presets"] if beyond else [*own, Path.home(), PROJECT, *_disks()]
    real: list[Path] = []
    for place in (*usual, *added):
        try:
            folder = place.expanduser().resolve(strict=True)
        except (OSError, RuntimeError):
            continue
        is_system = os.name != "nt" and folder == Path(folder.anchor) and place not in added
        if folder not in real and not is_system:
            real.append(folder)
    return Roots(tuple(sorted(real, key=lambda folder: -len(folder.parts))), beyond)


def _disks() -> Iterable[Path]:
    """Drives of Windows; what is mounted for people on Linux and macOS."""
    if os.name == "nt":
        return [Path(part.mountpoint) for part in psutil.disk_partitions(all=True)]
    mounts = ("/Volumes",) if sys.platform == "darwin" else ("/media", "/mnt", "/run/media")
    # Rented machines keep data in one of these.
    return [Path(folder) for folder in (*mounts, "/data", "/workspace", "/content") if Path(folder).is_dir()]


def complete(request: Any, roots: Roots | None = None) -> list[dict[str, Any]]:
    """What may follow a path that is being typed.

    request: {"prefix": text so far, "kind": "folder" | "file" | "model" | "settings" | "lora" | "any"}.
    Gives [{"path", "name", "folder": bool}], folders first, at most 60. Blank: the allowed folders.
    """
    wish = request if isinstance(request, dict) else {}
    prefix, kind = str(wish.get("prefix") or "")[:4096], str(wish.get("kind") or "any")
    roots = roots or default_roots()
    if not prefix.strip():
        return [
            {"path": f"{folder}{os.sep}", "name": str(folder), "folder": True} for folder in roots.folders
        ]
    prefix = os.path.expanduser(prefix.strip().strip('"'))  # noqa: PTH111  # Path would drop the last separator
    folder, _, start = _cut(prefix)
    real = roots.allowed(folder)
    if real is None:
        return _roots_like(prefix, roots)
    found = list(_entries(real, start, kind, roots))
    found.sort(key=lambda entry: (not entry["folder"], entry["name"].casefold()))
    return [
        {**entry, "path": f"{folder}{entry['name']}{os.sep if entry['folder'] else ''}"}
        for entry in found[:MOST_LOOKED_AT]
    ]


def _cut(prefix: str) -> tuple[str, str, str]:
    """ "/home/me/pic" -> ("/home/me/", "", "pic")."""
    at = max(prefix.rfind(separator) for separator in {os.sep, os.altsep or os.sep})
    return prefix[: at + 1], "", prefix[at + 1 :]


def _roots_like(prefix: str, roots: Roots) -> list[dict[str, Any]]:
    """On the way to an allowed folder: those that begin like this."""
    like = [folder for folder in roots.folders if str(folder).startswith(prefix)]
    return [{"path": f"{folder}{os.sep}", "name": str(folder), "folder": True} for folder in like]


def _entries(folder: Path, start: str, kind: str, roots: Roots) -> Iterable[dict[str, Any]]:
    """Entries of a folder whose names begin so; capitals do not matter."""
    endings = OFFERED_ENDINGS.get(kind, ())
    try:
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                if count >= SCANNED:
                    return
                if hidden_name(entry.name) or not entry.name.casefold().startswith(start.casefold()):
                    continue
                is_folder = entry.is_dir()
                if not is_folder and (kind == "folder" or not entry.name.lower().endswith(endings or ("",))):
                    continue
                if is_link(entry) and roots.allowed(entry.path) is None:
                    continue
                yield {"name": entry.name, "folder": is_folder}
    except OSError:
        return
