"""The files that the page may fetch: sample pictures, results and logs of jobs, small views of pictures.

Nothing else is served, and a name is looked up among what a job has written, never joined to a path.
"""

from __future__ import annotations

import io
import re
import tempfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from PIL import Image, ImageOps

from app.jobs.record import JobRecord
from app.jobs.smaller import made
from app.jobs.store import Job, JobStore
from app.paths import Roots, default_roots
from app.texts import base_name

LORA_ENDINGS = (".safetensors", ".ckpt", ".pt")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif", ".jxl")
THUMB_SIDE = 192
MOST_PIXELS = 120_000_000
"""Larger pictures are not decoded for a small view (a bomb may claim any size)."""
KEPT_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
NOT_KEPT = {"Cache-Control": "no-store"}


def missing() -> Response:
    """The one answer for everything that is not served: it tells nothing about what exists."""
    return PlainTextResponse("Not found\n", status_code=404)


def sample_file(job: Job, name: str) -> Path | None:
    """A sample picture of a job by its file name."""
    for sample in job.record().samples.values():
        if base_name(sample.path) == name:
            return inside(job.folder.samples / name, job.folder.path)
    return None


def trial_file(job: Job, name: str) -> Path | None:
    """A picture that "Try it" has drawn."""
    path = job.folder.samples / "try" / name
    return inside(path, job.folder.path) if re.fullmatch(r"[0-9a-f]{24}\.png", name) else None


def result_file(job: Job, record: JobRecord, name: str) -> Path | None:
    """A LoRA file of a job by its file name: one that the job says it wrote, or a smaller one
    taken out of it, in its Output folder.
    """
    folder = Path(str(job.settings().get("output_dir") or "")).expanduser()
    if not folder.is_absolute():
        return None
    own = (Path(file.path) for file in record.lora_files() if base_name(file.path) == name)
    smaller = (path for path in made(job, record) if path.name == name)
    found = next((inside(path, folder) for path in (*own, *smaller)), None)
    served = found and found.name.lower().endswith(LORA_ENDINGS) and job.store.may_use(found)
    return found if served else None


def inside(path: Path, folder: Path) -> Path | None:
    """The file, if it is one and lies in the folder, links followed."""
    try:
        real, root = path.resolve(strict=True), folder.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return None
    return real if real.is_file() and real.is_relative_to(root) else None


def routes(store: JobStore, roots: Roots | None = None) -> APIRouter:
    """All of them, below /live. `roots`: where pictures may lie of which small views are made."""
    router = APIRouter(prefix="/live")
    thumbs = Thumbs(roots or default_roots(store.workspace))

    @router.get("/{job_id}/sample/{name}")
    def sample(job_id: str, name: str) -> Response:
        job = store.get(job_id)
        path = sample_file(job, name) if job else None
        return FileResponse(path, media_type="image/png", headers=KEPT_FOREVER) if path else missing()

    @router.get("/{job_id}/try/{name}")
    def trial(job_id: str, name: str) -> Response:
        job = store.get(job_id)
        path = trial_file(job, name) if job else None
        return FileResponse(path, media_type="image/png", headers=KEPT_FOREVER) if path else missing()

    @router.get("/{job_id}/result/{name}")
    def result(job_id: str, name: str) -> Response:
        job = store.get(job_id)
        path = result_file(job, job.record(), name) if job else None
        if path is None:
            return missing()
        return FileResponse(path, media_type="application/octet-stream", filename=name, headers=NOT_KEPT)

    @router.get("/{job_id}/log")
    def log(job_id: str) -> Response:
        job = store.get(job_id)
        path = inside(job.folder.log_file, job.folder.path) if job else None
        if job is None or path is None:
            return missing()
        kind = "text/plain; charset=utf-8"
        return FileResponse(path, media_type=kind, filename=f"{job.id}.txt", headers=NOT_KEPT)

    @router.get("/{job_id}/samples.zip")
    def samples(job_id: str) -> Response:
        job = store.get(job_id)
        if job is None or not job.record().samples:
            return missing()
        headers = {"Content-Disposition": f'attachment; filename="{_ascii(job.id)}-samples.zip"', **NOT_KEPT}
        return StreamingResponse(zipped_samples(job), media_type="application/zip", headers=headers)

    @router.get("/thumb")
    def thumb(path: str, request: Request) -> Response:
        found = thumbs.get(path)
        if found is None:
            return missing()
        data, tag = found
        headers = {"ETag": tag, "Cache-Control": "private, max-age=60"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type="image/jpeg", headers=headers)

    return router


def _ascii(name: str) -> str:
    return "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "_" for letter in name
    )


def zipped_samples(job: Job) -> Iterator[bytes]:
    """All sample pictures of a job in one zip file, piece by piece."""
    with tempfile.TemporaryFile() as whole:
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
            for sample in list(job.record().samples.values()):
                name = base_name(sample.path)
                if path := inside(job.folder.samples / name, job.folder.path):
                    archive.write(path, name)
        whole.seek(0)
        while piece := whole.read(1 << 18):
            yield piece


class Thumbs:
    """Small JPEG views of pictures in the folders that a person may choose."""

    def __init__(self, roots: Roots, keep: int = 512) -> None:
        self.roots = roots
        self.keep = keep
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, text: str) -> tuple[bytes, str] | None:
        """(JPEG, ETag) of a picture, or None for what is no picture or not in the allowed folders."""
        path = self.roots.allowed(text)
        if path is None or path.suffix.lower() not in PICTURES:
            return None
        try:
            stat = path.stat()
            tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
            data = self._made(f"{path}{tag}", path)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None
        return data, tag

    def _made(self, key: str, path: Path) -> bytes:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        data = thumbnail(path)
        with self._lock:
            self._kept[key] = data
            while len(self._kept) > self.keep:
                self._kept.popitem(last=False)
        return data


def opened(path: Path) -> Image.Image:
    """A picture, not decoded yet. Raises ValueError for one that would take too much memory, OSError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(path)
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise ValueError("too many pixels")
    return image


def thumbnail(path: Path) -> bytes:
    """A picture as a small JPEG, turned upright. Raises ValueError, OSError for what cannot be shown."""
    with opened(path) as image:
        image.draft("RGB", (THUMB_SIDE * 2, THUMB_SIDE * 2))
        small = ImageOps.exif_transpose(image)
        small.thumbnail((THUMB_SIDE, THUMB_SIDE))
        ground = Image.new("RGB", small.size, "white")
        transparent = small.convert("RGBA") if small.mode in ("RGBA", "LA", "P", "PA") else None
        ground.paste(transparent or small.convert("RGB"), mask=transparent)
        out = io.BytesIO()
        ground.save(out, "JPEG", quality=82)
        return out.getvalue()
