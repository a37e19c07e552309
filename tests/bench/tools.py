"""Seconds and peak memory of the tools on full-size SDXL files of random numbers, each by its command.

    python -m tests.bench.tools [--checkpoint FILE] [--rank 128] [--only merge …]

Two LoRAs of all 986 modules in fp16 are made in a temporary folder (rank 128: 0.9 GB each), and where no
checkpoint is named a model (7 GB); the tools write into that folder too. One JSON line for each tool. The
last one, extract, takes the decomposition of 986 whole weights: a third of an hour of a core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.bench.full_size import measured
from tests.trainer.references import reference
from trainer.files.safetensors_writer import Planned, write_safetensors

ALPHA = 16
NUMBERS = 1_000_003
"""So many random numbers again and again: hundreds of millions of their own take minutes."""


def lora(path: Path, rank: int, seed: int, module: str = "networks.lora") -> Path:
    """A LoRA of every module that kohya's trainer changes in SDXL, in fp16."""
    modules = reference("sdxl_lora_keys")["lora_dim4"]
    planned = {f"{name}.alpha": Planned("F16", ()) for name in modules}
    for name, (_, down, up) in modules.items():
        planned[f"{name}.lora_down.weight"] = Planned("F16", (rank, *down[1:]))
        planned[f"{name}.lora_up.weight"] = Planned("F16", (up[0], rank, *up[2:]))
    some = (np.random.default_rng(seed).standard_normal(NUMBERS) * 0.02).astype("f2")

    def read(name: str) -> bytes:
        count = planned[name].size // 2
        return (
            np.full(1, ALPHA, "f2").tobytes() if name.endswith("alpha") else np.resize(some, count).tobytes()
        )

    metadata = {"ss_base_model_version": "sdxl_base_v1-0", "ss_network_module": module}
    write_safetensors(path, planned, read, metadata, hashes=True)
    return path


def commands(folder: Path, checkpoint: Path, rank: int) -> Iterator[tuple[str, list[str]]]:
    """(name, a tool's command) for each tool of LoRA files."""
    a, b = (str(lora(folder / f"{name}.safetensors", rank, seed)) for seed, name in enumerate("ab"))
    loras = ["--loras", f"{a}:0.7", "--loras", f"{b}:0.4"]
    yield "merge", ["merge", *loras, "--method", "side by side"]
    yield "merge float", ["merge", *loras, "--precision", "float"]
    yield "merge factors", ["merge", *loras, "--method", "mixed factors"]
    yield "merge svd", ["merge", *loras, "--method", "closest of a rank", "--rank", "32"]
    yield "resize", ["resize", "--lora", a, "--rank", "16"]
    yield "resize dynamic", ["resize", "--lora", a, "--rank", "64", "--method", "share of the energy"]
    dylora = str(lora(folder / "dylora.safetensors", rank, 2, "networks.dylora"))
    yield "split", ["split", "--lora", dylora, "--rank", str(rank // 2)]
    Path(dylora).unlink()
    yield "convert", ["convert", "--lora", a]
    yield "metadata", ["metadata", "--lora", a, "--title", "Momo"]
    yield "verify", ["verify", "--lora", a]
    yield "merge_into", ["merge_into", "--model", str(checkpoint), *loras]
    merged = str(folder / "merge_into.safetensors")
    yield "extract", ["extract", "--tuned", merged, "--base", str(checkpoint), "--rank", "8"]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--only", nargs="*", default=[], metavar="TOOL")
    parser.add_argument("--folder", type=Path, help="for what is made (default: a temporary one)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as temporary:
        folder, checkpoint = Path(temporary), chosen.checkpoint
        os.environ["LORA_ATELIER_WORKSPACE"] = str(folder / "workspace")
        if checkpoint is None:
            checkpoint = folder / "random.safetensors"
            make = [sys.executable, "-m", "tests.checkpoints", str(checkpoint), "--full"]
            subprocess.run([*make, "--family", "sdxl"], check=True)
        for name, words in commands(folder, checkpoint, chosen.rank):
            if chosen.only and name not in chosen.only:
                continue
            new = [] if words[0] == "verify" else ["--output", str(folder / f"{name}.safetensors")]
            found = measured([sys.executable, "-m", "trainer", "tool", *words, *new])
            made = Path(new[1]).stat().st_size / 1e9 if new else 0
            print(json.dumps({"tool": name, **found, "made_gb": round(made, 2)}), flush=True)
            if new and name != "merge_into":
                Path(new[1]).unlink()


if __name__ == "__main__":
    main()
