"""Models of the hub that tools look at pictures with: what one weighs and may be used for, and fetching it.

Nothing is fetched unless the person has said yes to its size and licence. What is here stays in the hub's own
cache on this machine; an interrupted fetch goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from trainer.errors import DISK_FULL, StopRequested, UserError
from trainer.families.known import hub_copies, hub_folder
from trainer.files.secrets import read_secret
from trainer.tools.tool import Work

Use = Literal["tag", "caption"]
NEEDED: dict[Use, tuple[str, ...]] = {"tag": ("model.onnx", "selected_tags.csv"), "caption": ("config.json",)}
INDEX = ".index.json"
"""End of the name of the file that tells over which files a model's weights are spread."""
TEXT_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
MB = 1_000_000
PATIENCE = 8.0
"""Seconds for the hub's answer about a model."""
REMEMBERED = 120.0
"""Seconds after which a hub that could not be reached is asked again."""


@dataclass(frozen=True)
class HubModel:
    """A model of the hub and the files that are wanted of it."""

    repo: str
    files: tuple[str, ...]
    size: int
    """Bytes of these files."""
    license: str
    """As its author names it; "" where nothing is said."""


_told: dict[tuple[str, Use], tuple[float, HubModel | UserError]] = {}


def here(repo: str, use: Use) -> Path | None:
    """Where a model lies on this machine, whole; None where it does not."""
    folder = hub_folder(repo)
    return folder if folder and is_whole(folder, use) else None


def is_whole(folder: Path, use: Use) -> bool:
    """Whether a folder has what is needed to use it."""
    try:
        names = [path.name for path in folder.iterdir() if path.is_file()]
    except OSError:
        return False
    weights = use == "tag" or any(_is_weights(name) for name in names)
    parts = {part for name in names if name.endswith(INDEX) for part in _parts(folder / name)}
    return weights and {*NEEDED[use], *parts} <= set(names)


def _parts(index: Path) -> Iterable[str]:
    """The files over which a model's weights are spread."""
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return ()


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors") or fnmatch(name, "pytorch_model*.bin")


def about(repo: str, use: Use) -> HubModel:
    """What the hub says of a model, asked once. Raises UserError where it knows none or does not answer."""
    remembered = _told.get((repo, use))
    if remembered and (isinstance(remembered[1], HubModel) or time.monotonic() - remembered[0] < REMEMBERED):
        answer = remembered[1]
    else:
        answer = _ask(repo, use)
        _told[repo, use] = time.monotonic(), answer
    if isinstance(answer, UserError):
        raise answer
    return answer


def _ask(repo: str, use: Use) -> HubModel | UserError:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        api = HfApi(token=read_secret("huggingface_token") or None)
        info = api.model_info(repo, files_metadata=True, timeout=PATIENCE)
    except RepositoryNotFoundError:
        return UserError("tools.hub_unknown", "model", name=repo)
    except Exception as error:  # noqa: BLE001  # no network, no answer, a wall in between: the person is told
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        return UserError("tools.hub_unreachable", "model", name=repo, reason=reason)
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or ()}
    files = wanted(sizes, use)
    if not all(name in files for name in NEEDED[use]):
        return UserError(f"tools.not_for_{use}", "model", name=repo)
    card: Any = info.card_data
    license_ = str((card and card.get("license")) or "")
    return HubModel(repo, files, sum(sizes[name] for name in files), license_)


def wanted(names: Iterable[str], use: Use) -> tuple[str, ...]:
    """The files that are needed of all those of a model: weights once, in the safer format."""
    top = sorted(name for name in names if "/" not in name)
    if use == "tag":
        return tuple(name for name in top if name in NEEDED["tag"])
    safe = [name for name in top if name.endswith(".safetensors")]
    weights = safe or [name for name in top if _is_weights(name)]
    index = [name for name in top if name.endswith(INDEX) and (".safetensors." in name) == bool(safe)]
    texts = [
        name
        for name in top
        if any(fnmatch(name, pattern) for pattern in TEXT_FILES) and not name.endswith(INDEX)
    ]
    return (*texts, *index, *weights)


def fetch(model: HubModel, work: Work) -> Path:
    """Fetch a model's files, one after the other; returns their folder. Tells how many MB are here.

    Raises UserError, StopRequested, OSError (a full disk).
    """
    place, bar = Path(), _bar(model.size, work)
    for name in model.files:
        place = _fetched(model.repo, name, bar)
    return place.parent


def _fetched(repo: str, name: str, bar: Any) -> Path:
    """A file of a model, on this machine."""
    try:
        return _file(repo, name, bar)
    except (StopRequested, UserError):
        raise
    except Exception as error:  # what the network and its library raise has no common class but this
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError("tools.hub_unreachable", "model", name=repo, reason=reason) from error


def _file(repo: str, name: str, bar: Any) -> Path:
    """Fetch a file into the hub's cache, or what is still missing of it; returns its path.

    The library's own hf_hub_download throws away what it has of a file that was interrupted.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    token, url = read_secret("huggingface_token") or None, hf_hub_url(repo, name)
    info = get_hf_file_metadata(url, token=token)
    path = hub_copies(repo) / str(info.commit_hash) / name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    content = hashlib.sha256(str(info.etag).encode()).hexdigest()[:12]  # of another content nothing is kept
    part = path.with_name(f".{name}.{content}.part")
    headers = {**build_hf_headers(token=token), "Accept-Encoding": "identity"}
    with part.open("ab") as file:
        http_get(url, file, resume_size=file.tell(), headers=headers, expected_size=info.size, tqdm_class=bar)
    part.replace(path)
    return path


def _bar(size: int, work: Work) -> Any:
    """The class of progress bar for the hub's library: it draws nothing, tells the job, and stops it."""
    from tqdm import tqdm

    total, before = math.ceil(size / MB), 0

    class Told(tqdm):
        def __init__(self, *_words: Any, **options: Any) -> None:
            nonlocal before
            before += options.get("initial", 0)
            super().__init__(disable=True, total=options.get("total"))

        def update(self, n: float | None = 1) -> None:
            nonlocal before
            before += int(n or 0)
            work.report(min(before // MB, total), total)

    return Told
