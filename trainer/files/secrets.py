"""Keys and tokens: in the environment, or in one file that only its owner may read. Nowhere else.

Settings, presets, drafts, job folders, logs and metadata never hold them (`trainer.files.redact` sees to what
is written). Names are keys of settings: "wandb_api_key", "huggingface_token".
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from trainer.files.whole_file import write_whole
from trainer.settings import TRAINING

SECRET_SETTINGS = tuple(key for key, setting in TRAINING.items() if setting.is_secret)
VARIABLES = {
    "wandb_api_key": ("WANDB_API_KEY",),
    "huggingface_token": ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
}
"""Variables that the services' own programs read too; they go before the file."""
LONGEST_SECRET = 1000
OWNER_ONLY = 0o600


def secrets_file() -> Path:
    """The file, in the person's folder for settings of programs."""
    if os.name == "nt":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "lora-atelier" / "secrets.json"


def read_secret(name: str) -> str:
    """The secret of this name from the environment, else from the file; "" where there is none."""
    return os.environ.get(variable_of(name), "").strip() or _kept().get(name, "")


def variable_of(name: str) -> str:
    """The environment variable that holds the secret of this name; "" where none does."""
    return next((one for one in VARIABLES.get(name, ()) if os.environ.get(one, "").strip()), "")


def write_secret(name: str, value: str) -> None:
    """Keep a secret in the file; a blank one is forgotten. Raises OSError, ValueError for no name or value.

    The file is made for its owner only before anything is in it.
    """
    value = value.strip()
    if name not in SECRET_SETTINGS or len(value) > LONGEST_SECRET or not value.isprintable():
        raise ValueError(name)
    kept = {**_kept(), name: value}
    path = secrets_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = {name: value for name, value in kept.items() if value}
    write_whole(path, json.dumps(data, indent=1).encode(), OWNER_ONLY)


def known_secrets() -> dict[str, str]:
    """All secrets there are, by name."""
    return {name: value for name in SECRET_SETTINGS if (value := read_secret(name))}


def _kept() -> dict[str, str]:
    """The file's content. Rights that it got from a copy or an editor are taken back."""
    path = secrets_file()
    try:
        if os.name != "nt" and path.stat().st_mode & 0o077:
            path.chmod(OWNER_ONLY)
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    data = data if isinstance(data, dict) else {}
    return {name: value for name, value in data.items() if name in SECRET_SETTINGS and isinstance(value, str)}
