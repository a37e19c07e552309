"""Fingerprints by which user interfaces recognise checkpoints and LoRA files. Torch-free."""

from __future__ import annotations

import hashlib
from pathlib import Path

LEGACY_START, LEGACY_LENGTH = 0x100000, 0x10000


def file_hash(path: Path) -> str:
    """SHA-256 of a whole file (`ss_new_sd_model_hash`)."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def legacy_file_hash(path: Path) -> str:
    """The old web UI's short hash (`ss_sd_model_hash`): 64 KiB from the second MiB on."""
    with path.open("rb") as file:
        file.seek(LEGACY_START)
        return hashlib.sha256(file.read(LEGACY_LENGTH)).hexdigest()[:8]


def tensors_hash(content: bytes) -> str:
    """SHA-256 of a .safetensors file without its header (`sshs_model_hash`): metadata may change."""
    start = 8 + int.from_bytes(content[:8], "little")
    return hashlib.sha256(memoryview(content)[start:]).hexdigest()


def legacy_hash(content: bytes) -> str:
    """The old web UI's short hash of a LoRA file (`sshs_legacy_hash`)."""
    return hashlib.sha256(content[LEGACY_START : LEGACY_START + LEGACY_LENGTH]).hexdigest()[:8]
