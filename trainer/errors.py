"""What a person can mend (`UserError`) and how a run ends early (`StopRequested`)."""

from __future__ import annotations

import errno
from typing import Any

from trainer.messages import Message, say


class UserError(Exception):
    """Something the person can mend; shown without a traceback.

    `code` names the sentences in texts/*.json (`messages`), `setting` the key of the setting to look
    at ("" where there is none), `values` fill the sentences.
    """

    def __init__(self, code: str, setting: str = "", **values: Any) -> None:
        self.message = Message(code, values)
        self.setting = setting
        super().__init__(code)

    def __str__(self) -> str:
        return str(say(self.message))


DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of an OSError."""
NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")
"""How torch says so, on a graphics card and on the CPU."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, whatever it is called."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in NO_MEMORY)


class StopRequested(Exception):  # noqa: N818  # not an error: the person pressed Stop
    """The person pressed Stop before training began; there is nothing to save."""
