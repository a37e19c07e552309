"""What is measured: each row is done by ours and by sd-scripts, and has its aim."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from tests.bench.trainings import ROOT, Case, Figures, Place, finished, ours, theirs

Measure = Callable[[Place], Figures]


@dataclass(frozen=True)
class Row:
    """Something both can do. `theirs` None: ours alone is measured."""

    name: str
    ours: Measure
    theirs: Measure | None
    aims: Mapping[str, float] = field(default_factory=dict)
    """Figure -> the most it should be, as a share of sd-scripts'."""
    tiny: bool = False
    """It needs no full-size checkpoint."""
    limit: str = ""
    """ "bf16" or "fp32": how near its step comes to the speed of plain products is told."""


def make_pictures(folder: Path, side: int, count: int = 4) -> Path:
    """Pictures with captions, as noisy as pictures can be."""
    (folder / "1_thing").mkdir(parents=True)
    for number in range(count):
        Image.effect_noise((side, side), 80).convert("RGB").save(folder / "1_thing" / f"{number}.png")
        (folder / "1_thing" / f"{number}.txt").write_text("a photo of a thing", encoding="utf-8")
    return folder


UNET_ALONE = "--network_train_unet_only"
CHECKPOINTED = {
    "changes": {"gradient_checkpointing": True},
    "flags": (UNET_ALONE, "--gradient_checkpointing"),
}
STEP, BF16, FP32, SAVED = {"step_cpu": 0.8}, {"peak_gb": 0.6}, {"peak_gb": 0.65}, {"peak_gb": 0.5}
START = {"start_cpu": 0.55}


def _training(case: Case, aims: Mapping[str, float], *, alone: bool = False, limit: str = "") -> Row:
    def other(place: Place) -> Figures:
        return theirs(case, place)

    return Row(case.name, lambda place: ours(case, place), None if alone else other, aims, limit=limit)


LYCORIS_PRESET = "attn-mlp"


def _lycoris(name: str, algorithm: str, *options: str, **changes: Any) -> Row:
    # With its preset "full" LyCORIS 4.1.3 gives two modules of sd-scripts' UNet one name, and stops.
    arguments = [
        "--network_args",
        f"algo={algorithm}",
        f"preset={LYCORIS_PRESET}",
        "conv_dim=8",
        "conv_alpha=1",
        *options,
    ]
    case = Case(
        f"bf16, {name}",
        changes={"LyCORIS_preset": LYCORIS_PRESET, "conv_dim": 8, "conv_alpha": 1, **changes},
        flags=(UNET_ALONE, "--network_module", "lycoris.kohya", *arguments),
    )
    return _training(case, {"step_cpu": 0.5})


def _sampling() -> Row:
    """What a run needs after its only step: a file, and a picture in four steps."""
    changes = {"sample_every_n_steps": 1, "sample_prompts": "a photo of a thing --w 512 --h 512 --s 4"}

    def other(place: Place) -> Figures:
        with tempfile.TemporaryDirectory() as folder:
            prompts = Path(folder) / "prompts.txt"
            prompts.write_text(str(changes["sample_prompts"]) + "\n", encoding="utf-8")
            flags = ("--sample_every_n_steps", "1", "--sample_sampler", "euler_a", "--sample_prompts")
            return theirs(Case("", steps=1, flags=(UNET_ALONE, *flags, str(prompts))), place)

    case = Case("", steps=1, changes={**changes, "sample_sampler": "euler_a"})
    return Row("bf16, a sample in 4 steps", lambda place: ours(case, place), other, {"after_cpu": 0.85})


MORE = 8
"""Pictures by which the second of two trainings has more."""


def _latents() -> Row:
    """Processor seconds a picture: two trainings of one step, one with more pictures than the other."""
    case = Case("", steps=1)

    def difference(place: Place, train: Callable[[Case, Place], Figures]) -> Figures:
        with tempfile.TemporaryDirectory() as folder:
            few, many = (
                replace(place, pictures=make_pictures(Path(folder) / str(count), place.side, count))
                for count in (1, 1 + MORE)
            )
            both = [train(case, each)["start_cpu"] for each in (few, many)]
        return {"latents_cpu": (both[1] - both[0]) / MORE}

    return Row(
        "bf16, latents of a picture",
        lambda place: difference(place, ours),
        lambda place: difference(place, theirs),
        {"latents_cpu": 0.6},
    )


MANY = 10_000


def _many_pictures() -> Row:
    """A folder of JPEGs looked at: sizes, captions, buckets. A second time in the same process: `again`."""
    program = str(Path(__file__).with_name("many_pictures.py"))

    def run(place: Place, who: str) -> Figures:
        assert place.many
        home, packages = (place.sd_scripts or ROOT, place.packages) if who == "theirs" else (ROOT, None)
        with tempfile.TemporaryDirectory() as folder:
            words = [program, who, str(place.many)]
            printed = finished(words, Path(folder), home, place.threads, packages)
        return json.loads(printed.strip().splitlines()[-1])

    return Row(
        f"{MANY:,} pictures",
        lambda place: run(place, "ours"),
        lambda place: run(place, "theirs"),
        {"looked_cpu": 0.2, "again_cpu": 0.2},
        tiny=True,
    )


TINY = "tiny model"


def _tiny() -> Row:
    """What a step costs besides computing."""
    case = Case("", "no", steps=30)

    def of(place: Place) -> Place:
        assert place.tiny
        return replace(place, checkpoint=place.tiny, side=64)

    return Row(
        TINY,
        lambda place: ours(case, of(place)),
        lambda place: theirs(case, of(place)),
        {"step_cpu": 0.8, "start_cpu": 0.4},
        tiny=True,
    )


ROWS = (
    _training(Case("bf16"), STEP | BF16 | START, limit="bf16"),
    _training(Case("fp32", "no"), STEP | FP32 | START, limit="fp32"),
    _training(Case("bf16, text encoder too", changes={"text_encoder_lr": 1e-4}, flags=()), STEP | BF16),
    _training(Case("bf16, checkpointed", **CHECKPOINTED), STEP | SAVED),
    _training(Case("fp32, checkpointed", "no", **CHECKPOINTED), STEP | SAVED),
    _lycoris("LoHa", "loha", LoRA_type="LyCORIS/LoHa"),
    _lycoris("LoKr", "lokr", LoRA_type="LyCORIS/LoKr"),
    _lycoris("GLoRA", "glora", LoRA_type="LyCORIS/GLoRA"),
    _lycoris("DoRA", "locon", "dora_wd=True", LoRA_type="LyCORIS/LoCon", dora_wd=True),
    _training(Case("bf16, Diag-OFT", changes={"LoRA_type": "LyCORIS/Diag-OFT"}), {}, alone=True),
    _sampling(),
    _latents(),
    _many_pictures(),
    _tiny(),
)
