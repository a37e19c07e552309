"""Checks of "LoRA network weights": a LoRA file, of the base model's family, whole, with numbers in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from trainer.families.detect import read_model
from trainer.families.facts import ModelUnreadableError
from trainer.families.known import known_facts
from trainer.families.others import ModelKind
from trainer.families.table import FAMILIES, named_by
from trainer.files.safetensors_header import HeaderError
from trainer.files.stand_ins import stand_in
from trainer.kohya.start_file import read_start_file
from trainer.lora.numbers import NOTHING_ODD, odd_numbers
from trainer.lora.types import ALGORITHMS
from trainer.messages import Message
from trainer.preflight.no_file import no_file
from trainer.problems import Problem, block, hint
from trainer.settings import TRAINING, Model, Network

FILE_KINDS: Mapping[ModelKind, str] = {
    "base": "model", "refiner": "model", "inpainting": "model", "depth": "model", "mixed": "model",
    "vae": "vae", "text_encoder": "text_encoder", "part": "part", "embedding": "embedding",
    "controlnet": "controlnet", "addition": "addition", "upscaler": "upscaler",
}  # fmt: skip
"""What a file is that is no LoRA -> the word for it in texts (file_kind.*)."""


def check(network: Network, model: Model) -> Iterator[Problem]:
    """Problems of the file, and of its rank without it."""
    key, path = "network_weights", Path(network.network_weights)
    if network.network_weights and not path.is_file():
        values = {"label": TRAINING[key].spec.label, "path": network.network_weights}
        if inside := _lora_in(path):
            yield block(key, "preflight.lora_in_folder", {key: inside}, found=inside, **values)
        else:
            yield no_file(key, network.network_weights)
    elif network.network_weights:
        yield from _check_lora_file(path, model)
    if network.dim_from_weights and not network.network_weights:
        yield hint("dim_from_weights", "preflight.dim_without_weights", {"dim_from_weights": False})


def _lora_in(folder: Path) -> str:
    """The LoRA in a folder that has one, as diffusers and PEFT save it; "" where none or several are."""
    files = list(islice(folder.glob("*.safetensors"), 2)) if folder.is_dir() else []
    return str(files[0]) if len(files) == 1 else ""


def _check_lora_file(path: Path, model: Model) -> Iterator[Problem]:
    """A LoRA, of the base model's family, with numbers in it."""
    key = "network_weights"
    try:
        facts = read_model(path)
        numbers = odd_numbers(path) if path.suffix.lower() == ".safetensors" else NOTHING_ODD
        start = read_start_file(path)
    except (ModelUnreadableError, HeaderError, OSError):
        yield block(key, stand_in(path) or "preflight.weights_no_lora", {key: ""}, name=path.name)
        return
    base = known_facts(model)
    family = (base and base.family) or named_by(model).key
    if facts.kind != "lora":
        kind = FILE_KINDS.get(facts.kind, "model" if facts.title else "")
        values = {"name": path.name, **({"kind": Message(f"file_kind.{kind}")} if kind else {})}
        code = "preflight.weights_other_file" if kind else "preflight.weights_no_lora"
        yield block(key, code, {key: ""}, **values)
    elif facts.title or facts.family not in (None, family):
        title = facts.title or FAMILIES[facts.family or family].title
        values = {"name": path.name, "found": title, "wanted": FAMILIES[family].title}
        yield block(key, "preflight.weights_family", {key: ""}, **values)
    elif numbers.not_finite:
        values = {"name": path.name, "tensor": numbers.not_finite[:80]}
        yield block(key, "core.weights_not_finite", {key: ""}, **values)
    elif start is None:
        yield block(key, "core.weights_fit_nothing", {key: ""}, name=path.name)
    elif numbers.alpha is not None:
        yield block(key, "preflight.weights_alpha", {key: ""}, name=path.name, alpha=f"{numbers.alpha:g}")
    elif start.torn:
        yield block(key, "preflight.weights_no_lora", {key: ""}, name=path.name)
    elif numbers.whole:
        yield hint(key, "preflight.weights_whole", {key: ""}, name=path.name, dtype=numbers.whole)
    elif numbers.zero_alphas and ALGORITHMS[start.algorithm].has_alpha:
        yield hint(key, "preflight.weights_alpha_zero", name=path.name)
