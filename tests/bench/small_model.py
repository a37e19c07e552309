"""Runs a program of sd-scripts, which knows the real sizes alone, with a tiny model's: the folder tells them.

    python small_model.py PROGRAM --pretrained_model_name_or_path FOLDER …

Run in sd-scripts' folder. Only numbers of its modules are set; nothing of it is changed.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Set the sizes and run."""
    sys.argv = sys.argv[1:]
    folder = Path(sys.argv[sys.argv.index("--pretrained_model_name_or_path") + 1])
    config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    from library import original_unet  # pyright: ignore[reportMissingImports]  # sd-scripts'

    channels = tuple(config["block_out_channels"])
    original_unet.BLOCK_OUT_CHANNELS = channels
    original_unet.TIMESTEP_INPUT_DIM = channels[0]
    original_unet.TIME_EMBED_DIM = channels[0] * 4
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
