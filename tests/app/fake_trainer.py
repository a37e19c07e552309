"""A trainer without a model: writes the events, files and pictures of a run, stops and fails on demand.

    python fake_trainer.py job|resume|try DIR
    python fake_trainer.py wait

`training_comment` of the job's settings drives it, as space-separated words: seconds=0.05 per step,
fail=STEP, crash=STEP (ends without a word), hold=STEP (until there is a file "go" in the Output folder), hang
(deaf to Stop), quiet (no pictures), environment (written to environment.json in the Output folder).
A prompt for `try` may be "slow", "fail" or "crash".
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from safetensors.numpy import save

sys.path.insert(0, str(Path(__file__).parents[2]))

from trainer.events import (
    EventLog,
    Failed,
    Finished,
    Notice,
    Phase,
    Sampled,
    Saved,
    Started,
    Step,
    Stopped,
)
from trainer.families.table import SD1
from trainer.files.job_folder import JobFolder
from trainer.jobs.waiting import wait_for_order
from trainer.plan.sample_prompts import prompts

SAMPLES_EVERY = 4


def main(verb: str, folder: Path) -> int:
    if verb == "try":
        return try_out(folder)
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    if "training_comment" not in settings:
        return tool(JobFolder(folder))
    wishes = dict(part.partition("=")[::2] for part in settings["training_comment"].split())
    JobFolder(folder).write_own_process()
    log = EventLog(folder / "events.jsonl")
    run = Run(folder, settings, wishes, log.emit)
    print(f"fake trainer: {verb}", flush=True)
    log.emit(Phase("start"))
    return run.train(run.kept() if verb == "resume" else 0)


def tool(folder: JobFolder) -> int:
    """A tool that works until it is stopped."""
    folder.write_own_process()
    log = folder.event_log()
    log.emit(Phase("work", 1, 2))
    while not folder.stop_requested():
        time.sleep(0.02)
    log.emit(Stopped(0))
    return 3


def lora_file() -> bytes:
    """A LoRA of one module, rank 4, alpha 2, as kohya's trainer writes it."""
    name = "lora_unet_mid_block_attentions_0_proj_in"
    tensors = {"lora_down.weight": np.zeros((4, 13500, 1, 1)), "lora_up.weight": np.zeros((8, 4, 1, 1))}
    tensors["alpha"] = np.array(2.0)
    tags = json.dumps({"10_sks mascot": {"sks mascot, red": 7, "smile": 3}})
    metadata = {"ss_tag_frequency": tags, "ss_base_model_version": "sd_v1"}
    return save({f"{name}.{key}": value.astype("f4") for key, value in tensors.items()}, metadata)


def try_out(folder: Path) -> int:
    """Answer requests with plain pictures: grey without the LoRA, as red as it is strong with it."""

    def say(event: str, **values: object) -> None:
        print(json.dumps({"event": event, "id": wish["id"], **values}), flush=True)

    place = folder / "samples" / "try"
    place.mkdir(parents=True, exist_ok=True)
    for count, line in enumerate(sys.stdin):
        wish = json.loads(line)
        if wish.get("cancel") or wish.get("warm"):
            continue
        if count == 0:
            say("loading")
        if wish["prompt"] == "crash":
            os._exit(1)
        if wish["prompt"] == "fail":
            say("failed", code="try.out_of_memory", values={})
            continue
        for done in range(1000 if wish["prompt"] == "slow" else 4):
            say("drawing", done=done, of=4)
            time.sleep(0.03)
        for which, red in (("lora", round(255 * wish["strength"] / 1.2)), ("base", 128)):
            name = hashlib.sha256(f"{line}{which}".encode()).hexdigest()[:24] + ".png"
            Image.new("RGB", (wish["width"], wish["height"]), (red, 128, 128)).save(place / name)
            say("drawn", which=which, name=name)
        say("done", seconds=0.5)
    return 0


class Run:
    """One run that learns nothing."""

    def __init__(self, folder: Path, settings: dict, wishes: dict[str, str], emit) -> None:
        self.folder, self.settings, self.wishes, self.emit = folder, settings, wishes, emit
        self.total = settings["max_train_steps"] or 20
        self.seconds = float(wishes.get("seconds", "0.02"))
        self.out = Path(settings["output_dir"])
        self.random = random.Random(1)
        self.prompts = [prompt.prompt for prompt in prompts(settings["sample_prompts"], SD1)]

    def kept(self) -> int:
        path = self.folder / "state" / "state.json"
        return json.loads(path.read_text())["step"] if path.exists() else 0

    def train(self, first: int) -> int:
        if "environment" in self.wishes:
            (self.out / "environment.json").write_text(json.dumps(dict(os.environ)))
        for phase in ("read_images", "load_model"):
            self.emit(Phase(phase))
            time.sleep(self.seconds)
        for done in range(4):
            self.emit(Phase("cache_latents", done, 4))
            time.sleep(self.seconds)
        points = [self.total * part // SAMPLES_EVERY for part in range(SAMPLES_EVERY + 1)]
        saves = [{"step": point, "epoch": 1, "name": "x"} for point in points[1:]]
        plan = {
            "decided_by": "max_train_steps",
            "sample_steps": points if self.prompts else [],
            "samples": len(self.prompts),
            "saves": saves,
            "folders": [{"name": "10_sks mascot", "pictures": 12, "repeats": 10, "is_reg": False}],
        }
        self.emit(Started(self.total, SAMPLES_EVERY, 42, "cpu", plan, first, 6_000_000_000))
        self.emit(Notice("core.no_8bit_here", {"name": "AdamW8bit", "used": "AdamW"}, "warning"))
        if not first:
            self.draw(0)
        self.emit(Phase("train", first, self.total))
        for step in range(first + 1, self.total + 1):
            time.sleep(self.seconds)
            loss = 0.1 + 0.08 * math.exp(-3 * step / self.total) + self.random.gauss(0, 0.02)
            warm = min(1.0, step / (0.1 * self.total))
            fall = 0.5 * (1 + math.cos(math.pi * step / self.total))
            rates = {"text_encoder": 2e-4 * warm * fall, "unet": 4e-4 * warm * fall}
            self.emit(
                Step(step, 1 + step * SAMPLES_EVERY // (self.total + 1), loss, rates, 0.1, 1_300_000_000)
            )
            if str(step) == self.wishes.get("crash"):
                os._exit(17)
            while str(step) == self.wishes.get("hold") and not (self.out / "go").exists():
                time.sleep(0.02)
            if str(step) == self.wishes.get("fail"):
                self.emit(Failed("training.out_of_memory", {}, "train_batch_size"))
                return 2
            if (self.folder / "stop").exists() and "hang" not in self.wishes:
                self.keep(step)
                paused = JobFolder(self.folder).pause_requested()
                self.emit(Stopped(step, str(self.save(step, f"-step{step:08d}")), paused))
                return 3
            if JobFolder(self.folder).wished("save"):
                self.save(step, f"-step{step:08d}")
            if JobFolder(self.folder).wished("sample"):
                self.draw(step)
            if step in points and step != self.total:
                self.keep(step)
                self.save(step, f"-{points.index(step):06d}")
                self.draw(step)
        path = self.save(self.total, "")
        self.keep(self.total)
        self.draw(self.total)
        self.emit(Finished(self.total, str(path)))
        return 0

    def keep(self, step: int) -> None:
        (self.folder / "state").mkdir(exist_ok=True)
        (self.folder / "state" / "state.json").write_text(json.dumps({"step": step}))
        self.emit(Saved(step, 1, str(self.folder / "state"), 61_000_000, "safety"))

    def save(self, step: int, suffix: str) -> Path:
        self.emit(Phase("save"))
        path = self.out / f"{self.settings['output_name']}{suffix}.safetensors"
        path.write_bytes(lora_file())
        epoch = step * SAMPLES_EVERY // self.total
        self.emit(Saved(step, epoch, str(path), path.stat().st_size, final=not suffix or "step" in suffix))
        self.emit(Phase("train", step, self.total))
        return path

    def draw(self, step: int) -> None:
        (self.folder / "samples").mkdir(exist_ok=True)
        for index, prompt in enumerate(self.prompts):
            self.emit(Phase("sample", index, len(self.prompts)))
            ground = ("#fbfaf7", "#f6cf3d", "#a9cfe6")[index % 3]
            picture = Image.new("RGB", (128, 128), ground)
            side = 20 + round(40 * step / self.total)
            colour = (120, 40, 60 + round(120 * step / self.total))
            ImageDraw.Draw(picture).ellipse((64 - side, 64 - side, 64 + side, 64 + side), fill=colour)
            path = self.folder / "samples" / f"{step:08d}_{index:02d}.png"
            picture.save(path)
            self.emit(Sampled(step, index, prompt, f"samples/{path.name}", 42 + index))


def wait() -> int:
    """As the trainer waits, without its libraries."""
    sys.modules["trainer.jobs.libraries"] = None  # pyright: ignore[reportArgumentType]  # importing it then fails
    order = wait_for_order()
    return main("resume" if order.resume else "job", order.folder.path) if order else 0


if __name__ == "__main__":
    raise SystemExit(wait() if sys.argv[1] == "wait" else main(sys.argv[1], Path(sys.argv[2])))
