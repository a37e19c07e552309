"""Make the demo model, one stage after the other: `python -m presets.demo.make all --work FOLDER`.

Checkpoints go into the work folder; an interrupted stage goes on where it was when called again.
"""

import argparse
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from . import draw, export, loop, pictures, sample, text_encoder, unet, vae

DEMO = Path(__file__).resolve().parent.parent
MODEL, PICTURES = DEMO / "model", DEMO / "pictures"


@dataclass(frozen=True)
class Task:
    """What every stage gets to know."""

    work: Path
    workers: int
    seed: int


def make_pictures(_task: Task) -> None:
    """The twelve training pictures of the LoRA."""
    pictures.write_pictures(PICTURES / pictures.FOLDER_NAME)


def make_text_encoder(task: Task) -> None:
    tokenizer = export.load_tokenizer(MODEL / "tokenizer")
    loop.run_workers(1, text_encoder.train_text_encoder, task.work, tokenizer, task.seed)


def make_vae(task: Task) -> None:
    """Train the VAE, then fit it to SD's scaling factor."""
    loop.run_workers(task.workers, vae.train_vae, task.work, task.seed)
    finish_vae(task.work)


def finish_vae(work: Path) -> None:
    trained = vae.build_vae()
    loop.load_average(work / "vae.pt", trained)
    vae.whiten(trained, world_pictures(200, seed=11))
    trained.save_pretrained(work / export.VAE_FOLDER)


def make_decoder(task: Task) -> None:
    """Sharpen the decoder; the encoder, and so the latents the UNet learns from, stay as they are."""
    first = export.load_vae(task.work)
    loop.run_workers(task.workers, vae.train_decoder, first, task.work, task.seed)


def make_unet(task: Task) -> None:
    parts = (
        export.load_vae(task.work),
        export.load_text_encoder(task.work),
        export.load_tokenizer(MODEL / "tokenizer"),
    )
    loop.run_workers(task.workers, unet.train_unet, task.work, parts, task.seed)


def make_model(task: Task) -> None:
    """Write what has been trained so far into the repository's model folder."""
    export.export(task.work, MODEL / "tokenizer", MODEL)


def measure_model(task: Task) -> None:
    """Print the quality of what has been trained so far."""
    pipeline = export.build_pipeline(task.work, MODEL / "tokenizer")
    scenes = sample.trial_scenes()
    made = sample.sample(pipeline, [sample.prompt_for(scene) for scene in scenes])
    result = {
        "vae_psnr_db": round(vae.psnr(pipeline.vae, world_pictures(64, seed=12)), 2),
        "vae_psnr_mascot_db": round(vae.psnr(pipeline.vae, mascot_pictures(16)), 2),
        **sample.accuracy(made, scenes),
    }
    print(json.dumps(result, indent=2))


def world_pictures(count: int, seed: int) -> torch.Tensor:
    """Random pictures of the world, (count, 3, SIDE, SIDE) in -1..1."""
    rng = random.Random(seed)
    drawn = [draw.draw_scene(draw.pick_scene(rng), rng, vae.SIDE) for _ in range(count)]
    return torch.stack([vae.to_tensor(np.asarray(picture)) for picture in drawn])


def mascot_pictures(count: int) -> torch.Tensor:
    """Mascots on white, (count, 3, SIDE, SIDE) in -1..1."""
    drawn = [draw.draw_mascot("white", random.Random(seed), vae.SIDE) for seed in range(count)]
    return torch.stack([vae.to_tensor(np.asarray(picture)) for picture in drawn])


STAGES: dict[str, Callable[[Task], None]] = {
    "pictures": make_pictures,
    "text": make_text_encoder,
    "vae": make_vae,
    "decoder": make_decoder,
    "unet": make_unet,
    "export": make_model,
    "measure": measure_model,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m presets.demo.make", description=__doc__)
    parser.add_argument("stage", choices=[*STAGES, "all"])
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    task = Task(arguments.work, arguments.workers, arguments.seed)
    for name, make in STAGES.items():
        if arguments.stage in (name, "all"):
            make(task)


if __name__ == "__main__":
    main()
