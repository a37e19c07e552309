"""Numbers recorded from the reference trainer, in tests/data/parity."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

PARITY = Path(__file__).parents[1] / "data" / "parity"


def reference(name: str) -> Any:
    """Content of tests/data/parity/<name>.json, or of <name>.json.gz."""
    path = PARITY / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    return json.loads(gzip.decompress(path.with_suffix(".json.gz").read_bytes()))
