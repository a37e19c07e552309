"""The password of --listen: hashed at rest, rate-limited, in front of every route.

Tries of one address are judged one after the other, each by what stands when its turn comes: many at once
are no more than a few one by one. The hash and the key that signs sessions stand in
<workspace>/password.json, which only the owner may read; a session therefore survives a restart of the
server and ends when the password changes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import math
import os
import secrets
import time
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template
from unicodedata import category
from urllib.parse import parse_qs

from app.paths import ASSETS
from app.texts import word
from app.web.doors import TooLargeError, read_body
from app.web.ended import EndedSessions
from app.web.guard import (
    HEADERS,
    App,
    Receive,
    Scope,
    Send,
    cookies,
    headers_of,
    refuse,
    send_answer,
    wanted_language,
)
from trainer.messages import Language

COOKIE = "la_session"
"""Begins the name of the cookie that holds a session."""
SESSION_SECONDS = 30 * 24 * 3600
FREE_TRIES = 5
FORGOTTEN = 3600.0
"""Seconds after the last wrong try of an address from which it begins anew."""
SHORTEST, LONGEST = 8, 256
"""Letters of a password."""
MOST_LOGIN_BODY = 16 << 10
BODY_SECONDS = 10.0
LOGOUT = "/logout"
ENDED = "logged_out.json"
"""In the workspace."""
HTML = "text/html; charset=utf-8"


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


class PasswordLengthError(ValueError):
    """A password that would be guessed soon, or that no form could send."""


class PasswordLettersError(ValueError):
    """A password that no form can send: with a line break, a tab, or bytes that are no text."""


class PasswordMissingError(PermissionError):
    """None is set."""


@dataclass
class Tries:
    """Wrong tries of one address: after a few, each doubles the wait (at most 15 minutes)."""

    count: int = 0
    until: float = 0.0
    last: float = 0.0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the try that is being judged."""

    def failed(self, now: float) -> None:
        self.count, self.last = self.count + 1, now
        if self.count >= FREE_TRIES:
            self.until = now + min(900.0, 5.0 * 2 ** (self.count - FREE_TRIES))


@dataclass
class Gate:
    """Lets those in who know the password."""

    salt: bytes
    hash: bytes
    key: bytes
    tries: dict[str, Tries] = field(default_factory=dict)
    hashing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a hash is computed: one takes 16 MiB and a core, however many ask."""
    ended: EndedSessions = field(default_factory=EndedSessions)

    @classmethod
    def for_workspace(cls, workspace: Path, password: str | None = None) -> Gate:
        """The gate of a workspace; `password` sets a new one.

        Raises PasswordMissingError, PasswordLengthError for one that is too short or too long, and
        PasswordLettersError for one that nobody could enter.
        """
        path = workspace / "password.json"
        if password and not SHORTEST <= len(password) <= LONGEST:
            raise PasswordLengthError
        if password and any(category(letter) in ("Cc", "Cs") for letter in password):
            raise PasswordLettersError
        if password:
            known = cls.read(path)
            if known is None or not known.right(password):
                save_password(path, password)
        gate = cls.read(path)
        if gate is None:
            raise PasswordMissingError
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
        return cls(salt, hash_, key, ended=EndedSessions(path.with_name(ENDED)))

    def right(self, password: str) -> bool:
        """Whether this is the password."""
        return hmac.compare_digest(hashed(password, self.salt), self.hash)

    @property
    def cookie(self) -> str:
        """Its name: pages of other workspaces on this host, whose cookies come along, have others."""
        return f"{COOKIE}_{self._signature(COOKIE)[:8]}"

    def session(self, now: float) -> str:
        """A signed session."""
        text = f"{int(now + SESSION_SECONDS)}.{secrets.token_urlsafe(9)}"
        return f"{text}.{self._signature(text)}"

    def knows(self, session: str, now: float) -> bool:
        """Whether a session is ours and not over."""
        text, _, signature = session.rpartition(".")
        if not text or not hmac.compare_digest(signature.encode(), self._signature(text).encode()):
            return False
        return int(text.partition(".")[0]) > now and session not in self.ended

    def _signature(self, text: str) -> str:
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()

    def middleware(self, app: App) -> App:
        """The gate in front of an application."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] == "/login":
                await self._login(scope, receive, send)
            elif scope["type"] == "http" and scope["path"] == LOGOUT and scope["method"] == "POST":
                await self._logout(scope, send)
            elif scope["type"] == "lifespan" or self._is_in(scope):
                await app(scope, receive, send)
            elif scope["type"] == "http" and scope["path"] == "/" and scope["method"] == "GET":
                await send_answer(send, 200, login_page(wanted_language(headers_of(scope))), HTML)
            else:
                await refuse(scope, send, 401, "Password needed\n")

        return guarded

    def _is_in(self, scope: Scope) -> bool:
        return bool(self._sessions(scope))

    def _sessions(self, scope: Scope) -> list[str]:
        """Those that a request brings along and that are valid."""
        now = time.time()
        return [one for one in cookies(headers_of(scope), self.cookie) if self.knows(one, now)]

    async def _logout(self, scope: Scope, send: Send) -> None:
        """End the session here, not only in the browser, and ask for the password again."""
        for session in self._sessions(scope):
            self.ended.add(session, int(session.partition(".")[0]), time.time())
        await _enter(send, b"/", f"{self.cookie}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0".encode())

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The form, and what it sends."""
        if scope["method"] == "GET" and self._is_in(scope):
            await _enter(send, b"/")
        elif scope["method"] == "GET":
            await send_answer(send, 200, login_page(wanted_language(headers_of(scope))), HTML)
        elif scope["method"] != "POST":
            await send_answer(send, 405, "Not allowed\n")
        else:
            await self._try(scope, receive, send)

    async def _try(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge a try in its turn; an address that guesses wrong again and again has to wait."""
        language = wanted_language(headers_of(scope))
        tries = self._tries_of(str((scope.get("client") or ("?",))[0]))
        try:
            body = await read_body(receive, MOST_LOGIN_BODY, BODY_SECONDS)
        except (TooLargeError, asyncio.TimeoutError):
            await send_answer(send, 408, "Too slow, or too large\n")
            return
        password = parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0]
        async with tries.turn:
            # Not the time of day: whoever sets the clock neither ends a wait nor makes it longer.
            wait = tries.until - time.monotonic()
            right = wait <= 0 and await self._judged(password)
            if right:
                tries.count = 0
            elif wait <= 0:
                tries.failed(time.monotonic())
        if right:
            kept = f"{self.cookie}={self.session(time.time())}; Path=/; HttpOnly; SameSite=Strict"
            await _enter(send, b"/", f"{kept}; Max-Age={SESSION_SECONDS}".encode())
        elif wait <= 0:
            await send_answer(send, 401, login_page(language, word(language, "password_wrong")), HTML)
        else:
            words = word(language, "password_wait", seconds=math.ceil(wait))
            await send_answer(send, 429, login_page(language, words), HTML)

    async def _judged(self, password: str) -> bool:
        """Whether it is the password; the page is served meanwhile."""
        if len(password) > LONGEST:
            return False
        async with self.hashing:
            return await asyncio.to_thread(self.right, password)

    def _tries_of(self, address: str) -> Tries:
        """What is remembered of an address; those that have been quiet for long are forgotten."""
        now = time.monotonic()
        for caller, tries in list(self.tries.items()):
            if not tries.turn.locked() and now > max(tries.until, tries.last + FORGOTTEN):
                del self.tries[caller]
        return self.tries.setdefault(household(address), Tries(last=now))


def household(address: str) -> str:
    """An address as wrong tries are counted: of IPv6 the network, of which one house has the whole."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(known.ipv4_mapped or ipaddress.ip_network((known, 64), strict=False))


async def _enter(send: Send, where: bytes, kept: bytes = b"") -> None:
    """Lead to the page; `kept`: the cookie that is set meanwhile."""
    headers = [(b"location", where), (b"content-length", b"0"), *HEADERS]
    headers += [(b"set-cookie", kept)] if kept else []
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def login_page(language: Language, problem: str = "") -> str:
    """The whole page that asks for the password."""
    title, label, button = (
        escape(word(language, key)) for key in ("password_title", "password", "password_enter")
    )
    told = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    page = (ASSETS / "login.html").read_text(encoding="utf-8")
    filled = {"language": language, "title": title, "label": label, "button": button, "problem": told}
    return Template(page).substitute(filled)
