"""The web server: Gradio's page, the job files and the guard in front of both."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse

from app.jobs.store import JobStore
from app.paths import Roots, default_roots
from app.web.connection import MOST_HEADERS, Connection
from app.web.doors import Doors
from app.web.guard import LOCAL, Guard, Headers, LanguageOfPage
from app.web.password import Gate
from app.web.routes import routes

DEFAULT_PORT = 7860
PORTS_TRIED = 20


def build_app(
    store: JobStore,
    blocks: gr.Blocks,
    options: Mapping[str, Any],
    *,
    hosts: Sequence[str] = (),
    any_address: bool = False,
    gate: Gate | None = None,
    roots: Roots | None = None,
) -> FastAPI:
    """All routes behind the guard. `hosts`: further names of this page; `gate`: asks for a password;
    `roots`: the folders that the page may use.
    """

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        store.tend_forever()
        yield
        store.close()

    app = FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(routes(store, roots))
    blocks.queue(default_concurrency_limit=8)
    _let_queue_rest(blocks)
    app = gr.mount_gradio_app(app, blocks, path="/", **{**quiet_options(store), **options})
    # The last one added is asked first.
    app.add_middleware(LanguageOfPage)
    app.add_middleware(Doors, components=blocks.blocks)
    if gate:
        app.add_middleware(gate.middleware)
    app.add_middleware(Headers)
    app.add_middleware(Guard, hosts=(*LOCAL, *hosts), any_address=any_address)
    return app


def _let_queue_rest(blocks: gr.Blocks) -> None:
    """Nothing of ours goes through Gradio's queue; it would look for work a thousand times a second."""
    queue = blocks._queue  # noqa: SLF001  # Gradio has no setting for it
    queue.sleep_when_free = queue.progress_update_sleep_when_free = 0.5


def quiet_options(store: JobStore) -> dict[str, Any]:
    """How Gradio is mounted: no footer, no history, no files, no server-side rendering."""
    return {
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "enable_monitoring": False,
        "pwa": False,
        "mcp_server": False,
        "blocked_paths": [str(store.workspace)],
        "max_file_size": "200mb",
        "show_error": False,
        "app_kwargs": {"exception_handlers": {RequestValidationError: not_as_agreed}},
    }


def not_as_agreed(_request: Request, _error: Exception) -> Response:
    """The answer to a request without what its route needs. FastAPI's own repeats what was sent, and fails
    where that is no JSON it could write: NaN, or half of a surrogate pair.
    """
    return PlainTextResponse("Not as agreed\n", status_code=422)


def be_quiet() -> None:
    """No telemetry, no version check. Set before the page is built."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("GRADIO_SSR_MODE", "False")


def bind(host: str, port: int | None) -> socket.socket:
    """A listening socket. None: 7860 or the next free port; a port asked for is taken or OSError raised."""
    tries = [port] if port is not None else [*range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED), 0]
    problem: OSError | None = None
    for candidate in tries:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if os.name == "nt":
            listener.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE"), 1)  # noqa: B009  # Windows only
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            listener.listen(128)
        except OSError as error:
            listener.close()
            problem = error
            continue
        return listener
    raise problem or OSError("no free port")


def configured(app: FastAPI) -> uvicorn.Config:
    """How the application is served. There is no proxy: what a request says of one is not believed."""
    return uvicorn.Config(
        app,
        http=Connection,
        h11_max_incomplete_event_size=MOST_HEADERS,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        ws="none",
    )


def is_local(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return host in LOCAL or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def address(host: str, port: int) -> str:
    """What to open in the browser."""
    if host in ("", "0.0.0.0"):  # noqa: S104  # compared, not bound
        host = "127.0.0.1"
    elif ":" in host:
        host = "[::1]" if host == "::" else f"[{host}]"
    return f"http://{host}:{port}/"


def names_of(host: str) -> tuple[str, ...]:
    """Under which the page may be opened that listens at `host`: that itself (127.0.0.2, or a name that only
    the network knows), and beyond this machine the names under which others know it.
    """
    if is_local(host):
        return (host,)
    name = socket.gethostname().lower()
    return (host, *{name, name.split(".")[0], f"{name.split('.')[0]}.local"})


def serve(
    workspace: Path,
    host: str = "127.0.0.1",
    port: int | None = None,
    *,
    open_browser: bool = True,
    password: str | None = None,
    added_roots: Sequence[Path] = (),
) -> None:
    """Serve the page until Ctrl-C. Running jobs go on afterwards.

    Beyond this machine a password is needed: `password` sets it, else the one set before is asked for; and
    only the workspace and `added_roots` (--root) may be used.
    Raises OSError where the port is taken, and PasswordMissingError, -LengthError and -LettersError.
    """
    be_quiet()
    from app.page.page import build_page, mount_options

    beyond = not is_local(host)
    workspace.expanduser().mkdir(parents=True, exist_ok=True)
    roots = default_roots(workspace.expanduser().resolve(), added_roots, beyond=beyond)
    store = JobStore(workspace, roots=roots)
    os.environ["LORA_ATELIER_WORKSPACE"] = str(store.workspace)  # presets look it up there, and the trainer
    gate = None if is_local(host) and password is None else Gate.for_workspace(store.workspace, password)
    listener = bind(host, port)
    options = mount_options()
    hosts = names_of(host)
    blocks = build_page(store, roots, gated=gate is not None)
    app = build_app(store, blocks, options, hosts=hosts, any_address=beyond, gate=gate, roots=roots)
    server = uvicorn.Server(configured(app))
    url = address(host, listener.getsockname()[1])
    print(f"LoRA Atelier: {url}", flush=True)
    if open_browser:
        threading.Thread(target=_open_when_up, args=(server, url), daemon=True).start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        store.close()
        listener.close()


def _open_when_up(server: uvicorn.Server, url: str) -> None:
    while not server.started and not server.should_exit:
        time.sleep(0.05)
    try:
        webbrowser.open(url)
    except webbrowser.Error as error:
        print(f"The browser could not be opened ({error}): open {url}", file=sys.stderr)
