"""How uvicorn hears a connection: one that says nothing, or says it too slowly, is hung up.

uvicorn waits for the rest of a request's headers, and for that of a body which was refused, as long as it
takes; a few hundred such connections are all that a server may have open.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 15.0
"""For a whole request but its body; also for a new connection's first word."""
MOST_HEADERS = 128 << 10
"""Bytes of a request line with its headers that are read before they are refused."""

TOO_LONG = b"HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(H11Protocol):
    """A connection with a clock that runs while headers, or the rest of a refused body, are awaited."""

    clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # as in uvicorn
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        ours, theirs = self.conn.our_state, self.conn.their_state
        begun = theirs is h11.IDLE and self.conn.trailing_data[0]
        refused = theirs is h11.SEND_BODY and ours in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
        if not begun and not refused:
            self._stop()  # a request is under way, or uvicorn's own clock counts the pause between two
        elif self.clock is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Tell a request line that is too long from what is no HTTP at all."""
        line = self.conn.trailing_data[0].partition(b"\r\n")[0]
        if self.conn.their_state is h11.ERROR and len(line) > MOST_HEADERS // 2:
            self.transport.write(TOO_LONG)
            self.transport.close()
        else:
            super().send_400_response(msg)

    def _wait(self) -> None:
        self.clock = self.loop.call_later(HEADER_SECONDS, self._hang_up)

    def _stop(self) -> None:
        if self.clock is not None:
            self.clock.cancel()
            self.clock = None

    def _hang_up(self) -> None:
        self.clock = None
        self.transport.close()
