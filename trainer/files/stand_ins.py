"""What lies under a model's name and is no model: told by its first bytes. Loads no torch."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

LOOKED_AT = 512
"""Bytes of a file."""
TEXT = rb"(?:\xef\xbb\xbf)?\s*"
MARKS = (
    (re.compile(rb"version https://git-lfs\.github\.com/spec/"), "files.is_pointer"),
    (re.compile(TEXT + rb"<(?:!doctype|html|head|body|\?xml|!--)", re.IGNORECASE), "files.is_page"),
    (re.compile(TEXT + rb"\{\s*\"(?:error|message|detail)"), "files.is_answer"),
    (re.compile(rb"(?:Entry |File )?[Nn]ot [Ff]ound|Invalid |Unauthorized|Access |404"), "files.is_answer"),
    (re.compile(rb"\x1f\x8b|7z\xbc\xaf|Rar!|PK\x03\x04"), "files.is_archive"),
    (re.compile(rb"GGUF|ggml"), "files.is_gguf"),
    (re.compile(rb"\x89PNG|\xff\xd8\xff|RIFF....WEBP", re.DOTALL), "files.is_picture"),
    (re.compile(rb"\x00{64}"), "files.is_zeros"),
    (re.compile(rb"[\s\S]{4}\x00{4}\{"), "files.is_renamed"),
)  # fmt: skip
"""Beginnings, and the code of the sentence that names what begins so."""
PACKED = ("files.is_archive",)
"""What a .ckpt may be."""
RENAMED = ("files.is_renamed",)
"""What a .safetensors file is under another ending."""
EMPTY_FILE = "files.is_empty"


def stand_in(path: Path) -> str:
    """The code of what a file is instead of tensors; "" where it does not tell.

    A folder's first such file counts: a repository that was cloned without Git LFS has nothing else.
    """
    if path.is_dir():
        parts = sorted(chain(path.glob("*/*.safetensors"), path.glob("*.safetensors"), path.glob("*/*.bin")))
        return next((code for part in parts if (code := _of_file(part))), "")
    return _of_file(path)


def _of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(LOOKED_AT)
    except OSError:
        return ""
    if not start:
        return EMPTY_FILE
    found = next((code for mark, code in MARKS if mark.match(start)), "")
    own = RENAMED if path.suffix.lower() == ".safetensors" else PACKED
    return "" if found in own else found
