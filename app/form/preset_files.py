"""Files of settings that the page opens and saves: which it may read, and which it may replace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.files.paths import clean_path
from trainer.files.reading import decoded, parse_json, parse_toml, read_bytes
from trainer.files.roots import MayRead, Roots
from trainer.files.whole_file import write_whole
from trainer.kohya.ages import KNOWN_KEYS
from trainer.kohya.draft import OWN
from trainer.kohya.sd_defaults import DEFAULTS
from trainer.kohya.source import flatten
from trainer.settings import TRAINING

READABLE = (".json", ".toml", ".txt", ".safetensors", ".yaml", ".yml")
"""Files of settings, commands in a text file, LoRA files that tell how they were made."""
WRITTEN = (".json", ".toml")
MOST_OWN = 200
NAMED = (".toml", ".txt")
"""What a file of settings may name and have read with it."""
PICTURE_SETTINGS = ("train_data_dir", "reg_data_dir", "dataset_config")
KNOWN = {*TRAINING, *KNOWN_KEYS, *DEFAULTS, OWN}
"""Keys of any file of settings."""


def typed_place(text: Any, configs: Path) -> Path:
    """The file that was typed: a bare name lies in `configs`. Raises UserError for a blank."""
    name = str(text or "").strip().strip('"')
    if not name:
        raise UserError("page.no_path")
    try:
        path = Path(name).expanduser()
    except RuntimeError as error:  # ~nobody
        raise UserError("page.no_path") from error
    if not path.name:  # "/", "C:\\"
        raise UserError("page.no_path")
    return path if path.is_absolute() else configs / path


def to_open(text: Any, configs: Path, roots: Roots) -> Path:
    """The file of settings that was typed, to read: "momo" is momo.json, too. Raises UserError."""
    path = typed_place(text, configs)
    longer = path.with_name(f"{path.name}.json")
    real = roots.place(path)
    if real is not None and not real.exists() and within(longer, roots).exists():
        return longer
    return path


def own(configs: Path, roots: Roots) -> list[dict[str, Any]]:
    """The files of settings in `configs`, the newest first: {"name", "path", "changed" (Unix seconds)}."""
    files = [path for path in configs.glob("*") if path.suffix.lower() in WRITTEN and roots.place(path)]
    dated = [(path.stat().st_mtime, path) for path in files if path.is_file()]
    return [
        {"name": path.stem if path.suffix == ".json" else path.name, "path": str(path), "changed": round(at)}
        for at, path in sorted(dated, reverse=True)[:MOST_OWN]
    ]


def within(path: Path, roots: Roots) -> Path:
    """The real place of a path. Raises UserError where the page may not go, whatever is there."""
    real = roots.place(path)
    if real is None:
        raise UserError("page.outside", path=str(path)[:300], folders=roots.names())
    return real


def to_read(path: Path, roots: Roots) -> Path:
    """The real place of a file of settings. Raises UserError."""
    real = within(path, roots)
    if real.suffix.lower() not in READABLE:
        raise UserError("page.not_read", name=path.name[:120], endings=" ".join(READABLE))
    return real


def settings_file_may_read(roots: Roots) -> MayRead:
    """For `kohya.read`: which files that a file of settings names are read with it."""

    def allowed(path: Path) -> bool:
        real = roots.place(path.absolute())
        return real is not None and real.suffix.lower() in NAMED

    return allowed


def to_write(path: Path, roots: Roots) -> Path:
    """The real place to save a preset at. Raises UserError where another kind of file stands there."""
    real = within(path, roots)
    if real.suffix.lower() not in WRITTEN:
        raise UserError("page.not_written", name=path.name[:120], endings=" ".join(WRITTEN))
    if real.exists() and not is_preset(real):
        raise UserError("page.no_preset_there", name=path.name[:120])
    return real


def is_preset(path: Path) -> bool:
    """Whether a file holds settings that others may take the place of: half its keys are known.

    A job's own settings are none: they say how the run was made.
    """
    if any((path.parent / name).exists() for name in ("process.json", "queue.json", "events.jsonl")):
        return False
    try:
        text = decoded(read_bytes(path), path.name)
        is_toml = path.suffix.lower() == ".toml"
        content = flatten(parse_toml(text, path.name)) if is_toml else parse_json(text, path.name)
    except UserError:
        return False
    return 2 * len(KNOWN & set(content)) >= len(content) > 0


def save(path: Path, text: str, roots: Roots) -> Path:
    """Write a preset, whole or not at all; its real place. Raises UserError, OSError."""
    real = to_write(path, roots)
    real.parent.mkdir(parents=True, exist_ok=True)
    write_whole(real, text.encode())
    return real


def pictures_within(values: Mapping[str, Any], roots: Roots) -> None:
    """Raise UserError where a field names pictures that the page may not look at; blanks name none."""
    for key in PICTURE_SETTINGS:
        text = values.get(key)
        path = clean_path(text) if isinstance(text, str) else ""
        if path and Path(path).is_absolute():
            within(Path(path), roots)
