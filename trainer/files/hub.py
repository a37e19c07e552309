"""Hugging Face: files and states are sent there after they are saved, and a state may come from there.

The library's own client does the work; the token comes from the environment, the file of secrets, or the
library's own login. An upload that fails is told and never ends a run: everything is on disk first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.events import Event, Notice
from trainer.files.secrets import read_secret
from trainer.settings import Saving

REPO = re.compile(r"[\w.-]+/[\w.-]+")
REPO_TYPES = ("", "model", "dataset", "space")
VISIBILITIES = ("", "public", "private")


@dataclass(frozen=True)
class HubPlace:
    """A folder in a repository."""

    repo_id: str
    """ "user/name"."""
    path: str = ""
    revision: str = "main"
    repo_type: str = "model"


def place_of(text: str) -> HubPlace | None:
    """ "user/repo/path/of/state:revision:type" (the last two may be left out), or None for what is none."""
    address, _, rest = text.strip().partition(":")
    revision, _, repo_type = rest.partition(":")
    user, _, more = address.strip("/").partition("/")
    name, _, path = more.partition("/")
    climbs = any(not part.strip(".") for part in re.split(r"[/\\]", path)) or "\\" in path
    if not REPO.fullmatch(f"{user}/{name}") or not path or climbs or repo_type not in REPO_TYPES:
        return None
    return HubPlace(f"{user}/{name}", path, revision or "main", repo_type or "model")


def download_state(text: str, folder: Path) -> Path:
    """Fetch the state that "Resume from huggingface" names into a folder; returns where it lies.

    Raises UserError where the text names none or it cannot be had.
    """
    from huggingface_hub import snapshot_download

    place = place_of(text)
    if place is None:
        raise UserError("preflight.hub_state", "resume_from_huggingface", text=text)
    try:
        root = snapshot_download(
            place.repo_id,
            repo_type=place.repo_type,
            revision=place.revision,
            allow_patterns=[f"{place.path}/*"],
            local_dir=folder,
            token=read_secret("huggingface_token") or None,
        )
    except Exception as error:
        raise UserError(
            "training.no_hub_state", "resume_from_huggingface", text=text, reason=_reason(error)
        ) from error
    return Path(root) / place.path


def _reason(error: Exception) -> str:
    """The first line of what the client says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@dataclass
class Uploader:
    """Sends what a run saves to its repository, one after the other."""

    saving: Saving
    emit: Callable[[Event], None]
    _ready: bool = field(default=False, init=False)
    _worker: ThreadPoolExecutor | None = field(default=None, init=False)
    _waiting: list[Future[None]] = field(default_factory=list, init=False)

    def send(self, path: Path) -> None:
        """Send a file or a state's folder; with "Async upload" training goes on meanwhile."""
        if not self.saving.huggingface_repo_id:
            return
        if not self.saving.async_upload:
            self._send(path)
            return
        self._worker = self._worker or ThreadPoolExecutor(1, "upload")
        self._waiting.append(self._worker.submit(self._send, path))

    def send_state(self, path: Path) -> None:
        """Send a state's folder where "Save state to huggingface" is on."""
        if self.saving.save_state_to_huggingface:
            self.send(path)

    def wait(self) -> None:
        """Return when everything is sent, or has failed."""
        for future in self._waiting:
            future.result()
        self._waiting.clear()

    def _send(self, path: Path) -> None:
        repo = self.saving.huggingface_repo_id
        try:
            self._upload(path)
        except Exception as error:  # noqa: BLE001  # the file is on disk; that it is not there too is no reason to stop
            values = {"name": path.name, "repo": repo, "reason": _reason(error)}
            self.emit(Notice("training.upload_failed", values, "warning"))
        else:
            self.emit(Notice("training.uploaded", {"name": path.name, "repo": repo}))

    def _upload(self, path: Path) -> None:
        from huggingface_hub import HfApi

        saving, api = self.saving, HfApi(token=read_secret("huggingface_token") or None)
        place: dict[str, Any] = {
            "repo_id": saving.huggingface_repo_id,
            "repo_type": saving.huggingface_repo_type or "model",
        }
        if not self._ready:
            private = saving.huggingface_repo_visibility != "public"
            sdk = "static" if place["repo_type"] == "space" else None
            api.create_repo(**place, private=private, exist_ok=True, space_sdk=sdk)
            self._ready = True
        target = "/".join(part for part in (saving.huggingface_path_in_repo.strip("/"), path.name) if part)
        if path.is_dir():
            api.upload_folder(
                folder_path=path, path_in_repo=target, commit_message=f"Add {path.name}", **place
            )
        else:
            api.upload_file(
                path_or_fileobj=path, path_in_repo=target, commit_message=f"Add {path.name}", **place
            )
