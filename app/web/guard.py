"""Keeps other web pages out, and gives every answer its security headers and the page its language.

A browser sends requests to 127.0.0.1 for any web page that asks it to. Gradio itself answers them
(measured: uploads and calls of foreign origins, and any Host name), so every request is judged here
first, before a byte of its body is read.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from app.texts import language_of
from trainer.messages import LANGUAGES, Language

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL = ("127.0.0.1", "localhost", "::1")
LONGEST_URL = 16 << 10
"""Bytes: a path of a picture on a disk may be long, and three times as long in an address."""
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?", re.IGNORECASE)
"""A name or an address, and perhaps a port: no user, no path, no list."""
SINGLE = (
    b"host", b"origin", b"cookie", b"content-type", b"content-length",
    b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest",
)  # fmt: skip
"""Headers of which there is one, or none: of two, each reader may take another."""
FORWARDED = (b"x-forwarded-", b"forwarded")
"""What a proxy would say about the request: there is none, so nobody says it for us."""
POLICY = (
    "default-src 'self'",
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "worker-src 'self' blob:",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "media-src 'self' blob:",
    "font-src 'self' data:",
    "connect-src 'self' data: blob:",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
)
"""Gradio's page needs inline and evaluated scripts; nothing may come from, or go to, another host."""
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"content-security-policy", "; ".join(POLICY).encode()),
)


def headers_of(scope: Scope) -> dict[str, str]:
    """A request's headers, names in lower case."""
    return {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope.get("headers", ())
    }


def cookies(headers: dict[str, str], name: str) -> list[str]:
    """The values of a cookie, [] where there is none.

    Browsers send those of every server on this host, whatever its port and however they are written: what is
    none of ours must not keep ours from being read.
    """
    pairs = (part.partition("=") for part in headers.get("cookie", "").split(";"))
    return [value.strip() for key, _, value in pairs if key.strip() == name]


class Guard:
    """Refuses requests that did not come from our own page: Host, Origin and Sec-Fetch-Site.

    `hosts` are the names under which the page may be opened; `any_address` also allows every literal IP
    address (for --listen: DNS rebinding needs a name, so an address is no danger).
    """

    def __init__(self, app: App, hosts: Iterable[str] = LOCAL, *, any_address: bool = False) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)
        self.any_address = any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif (reason := self.objection(scope)) is not None:
            await refuse(scope, send, 403, f"Refused: {reason}\n")
        elif len(scope.get("raw_path") or b"") + len(scope.get("query_string", b"")) > LONGEST_URL:
            await refuse(scope, send, 414, "The address is too long\n")
        else:
            kept = [pair for pair in scope["headers"] if not pair[0].lower().startswith(FORWARDED)]
            await self.app({**scope, "headers": kept}, receive, send)

    def objection(self, scope: Scope) -> str | None:
        """What is wrong with a request, or None."""
        names = [name.lower() for name, _ in scope.get("headers", ())]
        if any(names.count(name) > 1 for name in SINGLE):
            return "a header stands there twice."
        headers = headers_of(scope)
        host = headers.get("host", "")
        if not self.knows(host):
            return "this is not a name of this page."
        origin = headers.get("origin")
        if origin is not None and not same_origin(origin, host, scope.get("scheme", "http")):
            return "the request comes from another page."
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none") and not _opens_page(scope, headers):
            return "the request comes from another page."
        return None

    def knows(self, host: str) -> bool:
        """Whether a Host header names this page."""
        found = HOST.fullmatch(host)
        name = found[1].lower().strip("[]") if found else ""
        return name in self.hosts or (self.any_address and _is_address(name))


def same_origin(origin: str, host: str, scheme: str) -> bool:
    """Whether an Origin header names exactly the host (and port) the request was sent to."""
    schemes = {"http": ("http", "https"), "ws": ("http", "https")}.get(scheme, ("https",))
    return origin.lower() in {f"{one}://{host.lower()}" for one in schemes}


def _opens_page(scope: Scope, headers: dict[str, str]) -> bool:
    """A link on another page may open ours, at its front door."""
    navigates = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return scope.get("method") == "GET" and navigates and scope.get("path") in ("/", "/login")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    """Refuse a request, of whatever kind, without reading it."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
    else:
        await send_answer(send, status, text)


async def send_answer(send: Send, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
    """Send a short answer without reading the request."""
    body = text.encode()
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode()), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Headers:
    """Adds the security headers to every answer."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                ours = {name for name, _ in HEADERS}
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in ours]
                message["headers"] = [*kept, *HEADERS]
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def wanted_language(headers: dict[str, str]) -> Language:
    """The language chosen in the page (cookie `ui_lang`), else the browser's first one of ours."""
    language = next(iter(cookies(headers, "ui_lang")), "")
    if language in LANGUAGES:
        return language_of(language)
    offers: list[tuple[float, int, Language]] = []
    for place, part in enumerate(headers.get("accept-language", "").split(",")[:20]):
        code, _, quality = part.strip().partition(";q=")
        if code[:2].lower() in LANGUAGES:
            offers.append((-_number(quality), place, language_of(code)))
    return min(offers)[2] if offers else "en"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


class LanguageOfPage:
    """Puts the language into the page, ahead of all scripts, so that the first paint is right.

    Gradio takes its language from `navigator.language`, and only once.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        language = wanted_language(headers_of(scope))
        start: MutableMapping[str, Any] | None = None
        body = bytearray()

        async def rewrite(message: MutableMapping[str, Any]) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body.extend(message.get("body", b""))
            if message.get("more_body") or start is None:
                return
            page = _in_language(bytes(body), language) if _is_page(start) else bytes(body)
            kept = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
            start["headers"] = [*kept, (b"content-length", str(len(page)).encode())]
            await send(start)
            await send({"type": "http.response.body", "body": page})

        await self.app(scope, receive, rewrite)


def _is_page(start: MutableMapping[str, Any]) -> bool:
    headers = {name.lower(): value for name, value in start.get("headers", [])}
    return headers.get(b"content-type", b"").startswith(b"text/html") and b"content-encoding" not in headers


def _in_language(page: bytes, language: Language) -> bytes:
    script = (
        f"<script>for(const[k,v]of[['language','{language}'],['languages',['{language}']]])"
        f"Object.defineProperty(navigator,k,{{get:()=>v}});document.documentElement.lang='{language}'</script>"
    )
    head = page.find(b"<head>")
    return page if head < 0 else page[: head + 6] + script.encode() + page[head + 6 :]
