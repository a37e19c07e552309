"""The password of --listen: hashed at rest, rate-limited, in front of every route.

The hash and the key that signs sessions stand in <workspace>/password.json, which only the owner may
read; a session therefore survives a restart of the server and ends when the password changes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import parse_qs

from app.texts import word
from app.web.guard import HEADERS, App, Receive, Scope, Send, answer, cookie, headers_of, wanted_language
from trainer.messages import Language

ASSETS = Path(__file__).parent.parent / "assets"
COOKIE = "la_session"
SESSION_SECONDS = 30 * 24 * 3600
FREE_TRIES = 5
MOST_BODY = 4096


def hashed(password: str, salt: bytes) -> bytes:
    """scrypt with the costs of OWASP's advice (16 MiB, about 50 ms)."""
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1, maxmem=64 << 20)


def save_password(path: Path, password: str) -> None:
    """Keep a password's hash and a new key for sessions in a file for the owner only."""
    salt = secrets.token_bytes(16)
    data = {"salt": salt, "hash": hashed(password, salt), "key": secrets.token_bytes(32)}
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({name: base64.b64encode(value).decode() for name, value in data.items()}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@dataclass
class Tries:
    """Wrong tries of one address: after a few, each doubles the wait (at most 15 minutes)."""

    count: int = 0
    until: float = 0.0

    def failed(self, now: float) -> None:
        self.count += 1
        if self.count >= FREE_TRIES:
            self.until = now + min(900.0, 5.0 * 2 ** (self.count - FREE_TRIES))


@dataclass
class Gate:
    """Lets those in who know the password."""

    salt: bytes
    hash: bytes
    key: bytes
    tries: dict[str, Tries] = field(default_factory=dict)

    @classmethod
    def for_workspace(cls, workspace: Path, password: str | None = None) -> Gate:
        """The gate of a workspace; `password` sets a new one. Raises PermissionError where none is set."""
        path = workspace / "password.json"
        if password:
            known = cls.read(path)
            if known is None or not known.right(password):
                save_password(path, password)
        gate = cls.read(path)
        if gate is None:
            raise PermissionError("a password is needed to serve beyond this machine")
        return gate

    @classmethod
    def read(cls, path: Path) -> Gate | None:
        """The gate kept in a file; None where there is none."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            salt, hash_, key = (
                base64.b64decode(data[name], validate=True) for name in ("salt", "hash", "key")
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return cls(salt, hash_, key)

    def right(self, password: str) -> bool:
        """Whether this is the password."""
        return hmac.compare_digest(hashed(password, self.salt), self.hash)

    def session(self, now: float) -> str:
        """A signed session."""
        text = f"{int(now + SESSION_SECONDS)}.{secrets.token_urlsafe(9)}"
        return f"{text}.{self._signature(text)}"

    def knows(self, session: str, now: float) -> bool:
        """Whether a session is ours and not over."""
        text, _, signature = session.rpartition(".")
        if not text or not hmac.compare_digest(signature.encode(), self._signature(text).encode()):
            return False
        return int(text.partition(".")[0]) > now

    def _signature(self, text: str) -> str:
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()

    def middleware(self, app: App) -> App:
        """The gate in front of an application."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan" or self.knows(cookie(headers_of(scope), COOKIE), time.time()):
                await app(scope, receive, send)
            elif scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            elif scope["path"] == "/login" and scope["method"] == "POST":
                await self._login(scope, receive, send)
            elif scope["path"] in ("/", "/login") and scope["method"] == "GET":
                await answer(
                    send, 200, login_page(wanted_language(headers_of(scope))), "text/html; charset=utf-8"
                )
            else:
                await answer(send, 401, "Password needed\n")

        return guarded

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge a try; an address that guesses wrong again and again has to wait."""
        language = wanted_language(headers_of(scope))
        caller, now = str((scope.get("client") or ("?",))[0]), time.time()
        tries = self.tries.setdefault(caller, Tries())
        html = "text/html; charset=utf-8"
        if now < tries.until:
            words = word(language, "password_wait", seconds=round(tries.until - now))
            await answer(send, 429, login_page(language, words), html)
            return
        password = parse_qs((await _body(receive)).decode("utf-8", "replace")).get("password", [""])[0]
        if not self.right(password):
            tries.failed(now)
            await answer(send, 401, login_page(language, word(language, "password_wrong")), html)
            return
        self.tries.pop(caller, None)
        kept = f"{COOKIE}={self.session(now)}; Path=/; HttpOnly; SameSite=Strict; Max-Age={SESSION_SECONDS}"
        headers = [(b"location", b"/"), (b"set-cookie", kept.encode()), (b"content-length", b"0"), *HEADERS]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


async def _body(receive: Receive) -> bytes:
    """A request's body, at most 4 kB of it."""
    body = b""
    while len(body) < MOST_BODY:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body[:MOST_BODY]


def login_page(language: Language, problem: str = "") -> str:
    """The whole page that asks for the password."""
    title, label, button = (
        escape(word(language, key)) for key in ("password_title", "password", "password_enter")
    )
    told = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    page = (ASSETS / "login.html").read_text(encoding="utf-8")
    filled = {"language": language, "title": title, "label": label, "button": button, "problem": told}
    return Template(page).substitute(filled)
