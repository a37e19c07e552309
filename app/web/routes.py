"""The files that the page may fetch: sample pictures, results and logs of jobs, small views of pictures, and
the script of the dataset room.

Nothing else is served, and a name is looked up among what a job has written, never joined to a path.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse

from app.jobs.files import inside, result_file, sample_file, trial_file
from app.jobs.store import Job, JobStore
from app.page.page import room_script
from app.paths import Roots, default_roots
from app.pictures import KEPT_VIEWS, SIDES, Thumbs
from app.texts import base_name

KEPT_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
NOT_KEPT = {"Cache-Control": "no-store"}


def not_found() -> Response:
    """The one answer for everything that is not served: it tells nothing about what exists."""
    return PlainTextResponse("Not found\n", status_code=404)


def routes(store: JobStore, roots: Roots | None = None) -> APIRouter:
    """All of them, below /live. `roots`: where pictures may lie of which small views are made."""
    router = APIRouter(prefix="/live")
    thumbs = Thumbs(roots or default_roots(store.workspace), store.workspace / KEPT_VIEWS)

    @router.get("/{job_id}/sample/{name}")
    def sample(job_id: str, name: str) -> Response:
        job = store.get(job_id)
        path = sample_file(job, name) if job else None
        return FileResponse(path, media_type="image/png", headers=KEPT_FOREVER) if path else not_found()

    @router.get("/{job_id}/try/{name}")
    def trial(job_id: str, name: str) -> Response:
        job = store.get(job_id)
        path = trial_file(job, name) if job else None
        return FileResponse(path, media_type="image/png", headers=KEPT_FOREVER) if path else not_found()

    @router.get("/{job_id}/result/{name}")
    def result(job_id: str, name: str) -> Response:
        job = store.get(job_id)
        path = result_file(job, job.record(), name) if job else None
        if path is None:
            return not_found()
        return FileResponse(path, media_type="application/octet-stream", filename=name, headers=NOT_KEPT)

    @router.get("/{job_id}/log")
    def log(job_id: str) -> Response:
        job = store.get(job_id)
        path = inside(job.folder.log_file, job.folder.path) if job else None
        if job is None or path is None:
            return not_found()
        return FileResponse(
            path,
            media_type="text/plain; charset=utf-8",
            headers=NOT_KEPT,
            filename=f"{job.id}.txt",
            content_disposition_type="inline",
        )

    @router.get("/{job_id}/samples.zip")
    def samples(job_id: str) -> Response:
        job = store.get(job_id)
        if job is None or not job.record().samples:
            return not_found()
        headers = {"Content-Disposition": f'attachment; filename="{_ascii(job.id)}-samples.zip"', **NOT_KEPT}
        return StreamingResponse(zipped_samples(job), media_type="application/zip", headers=headers)

    @router.get("/room.js")
    def room() -> Response:
        return Response(room_script(), media_type="text/javascript; charset=utf-8", headers=NOT_KEPT)

    @router.get("/thumb")
    def thumb(path: str, request: Request, side: int = SIDES[0], stamp: str = "") -> Response:
        """`stamp`: changes with the picture, so that the browser need not ask again for the same one."""
        found = thumbs.get(path, side)
        if found is None:
            return not_found()
        data, tag = found
        headers = {
            "ETag": tag,
            **(KEPT_FOREVER if stamp == tag.strip('"') else {"Cache-Control": "private, max-age=60"}),
        }
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
