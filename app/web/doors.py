"""The routes that the page needs, and how much a request may hold; everything else is shut.

Gradio brings many more routes than a page uses: files of this machine and of other hosts, uploads, a proxy, a
description of itself. New versions bring new ones, so the open ones are listed, not the shut ones.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping

from app.web.guard import App, Receive, Scope, Send, headers_of, refuse, send_answer

READ_PATHS = re.compile(
    r"/|/favicon\.ico|/robots\.txt|/theme\.css|/config|/(assets|static|live)/.+"
    r"|/gradio_api/(startup-events|app_id|info|heartbeat/\w+)"
)
"""Paths for GET and HEAD."""
SENT_TO = ("/gradio_api/component_server", "/gradio_api/component_server/")
"""Paths for POST, which take JSON only: a form of another page cannot send that unasked. Nothing of ours goes
through Gradio's queue, so its routes are shut.
"""
ODD = re.compile(r"//|\\|[\x00-\x1f\x7f]|/\.\.?(/|$)")
"""In no path of ours."""
MOST_BODY = 32 << 20
"""Bytes of a request: a pasted file of settings, or the pieces of a LoRA file, in JSON."""
PATIENCE = 20.0
"""Seconds without a byte of a body after which it counts as given up."""
LONGEST_WAIT = 120.0
"""Seconds for a whole body."""


class TooLargeError(Exception):
    """More bytes than were to be read."""


class Doors:
    """Passes on what one of the page's own routes can answer. `components`: those of the page by number."""

    def __init__(self, app: App, components: Mapping[int, object]) -> None:
        self.app = app
        self.components = components

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif refused := refusal(scope):
            await refuse(scope, send, *refused)
        elif scope["method"] == "POST":
            await self._with_body(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body first, whole, so that one that is too large or too slow reaches nothing."""
        try:
            body = await read_body(receive, MOST_BODY, LONGEST_WAIT)
        except TooLargeError:
            await send_answer(send, 413, "Too large\n")
        except asyncio.TimeoutError:
            await send_answer(send, 408, "Too slow\n")
        else:
            if asks_a_function(body, self.components):
                await self.app(scope, given(body, receive), send)
            else:
                await send_answer(send, 400, "Not a question that this page asks\n")


def refusal(scope: Scope) -> tuple[int, str] | None:
    """Status and words for a request that no route of ours answers; None for the others."""
    path, method = scope["path"], scope.get("method", "")
    sent = path in SENT_TO
    if ODD.search(path) or not (sent or READ_PATHS.fullmatch(path)):
        return 404, "Not found\n"
    if method not in (("POST",) if sent else ("GET", "HEAD")):
        return 405, "Not allowed\n"
    headers = headers_of(scope)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if method == "POST" and kind != "application/json":
        return 415, "JSON is needed\n"
    length = headers.get("content-length", "0")
    return (413, "Too large\n") if not length.isdecimal() or int(length) > MOST_BODY else None


def asks_a_function(body: bytes, components: Mapping[int, object]) -> bool:
    """Whether a body names one of the page's server functions, as Gradio's route takes for granted."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(asked, dict) or "data" not in asked or not isinstance(asked.get("session_hash"), str):
        return False
    number, name = asked.get("component_id"), asked.get("fn_name")
    if type(number) is not int or not isinstance(name, str):
        return False
    return getattr(getattr(components.get(number), name, None), "_is_server_fn", False) is True


async def read_body(receive: Receive, most: int, seconds: float) -> bytes:
    """A request's body. Raises TooLargeError beyond `most` bytes, asyncio.TimeoutError for one that does not
    come: all within `seconds`, a part within PATIENCE.
    """
    body = bytearray()
    end = asyncio.get_running_loop().time() + seconds
    while True:
        left = end - asyncio.get_running_loop().time()
        message = await asyncio.wait_for(receive(), max(0.0, min(left, PATIENCE)))
        body += message.get("body", b"")
        if len(body) > most:
            raise TooLargeError
        if not message.get("more_body"):
            return bytes(body)


def given(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands over a body that was read already, and then what comes after it."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> dict[str, object]:
        return waiting.pop() if waiting else dict(await receive())

    return again
