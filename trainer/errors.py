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
NO_MEMORY = (
    "out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory",
    "can't start new thread",
)  # fmt: skip
"""How torch says so, on a graphics card and on the CPU, and Python where a thread's stack does not fit."""
NO_MEMORY_OF_ONEDNN = ("could not create a primitive", "could not create a memory object")
"""How oneDNN does, whole messages: longer ones tell of what it cannot compute."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, whatever the error is called, and whatever sentence was made of it since."""
    while error:
        text = "" if isinstance(error, UserError) else str(error).strip().lower()
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if text in NO_MEMORY_OF_ONEDNN or any(words in text for words in NO_MEMORY):
            return True
        error = error.__cause__
    return False


class StopRequested(Exception):  # noqa: N818  # not an error: the person pressed Stop
    """The person pressed Stop before training began; there is nothing to save."""
