"""What the readers of other programs' files share: options under construction, and words for the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from trainer.kohya.fitting import as_number
from trainer.settings import OptimizerName

Flat = Mapping[str, Any]
"""Every value of a file under its path."""
OPTIMIZERS: dict[str, str] = {
    **{name.lower(): name for name in get_args(OptimizerName)},
    "sgd": "SGDNesterov", "sgd8bit": "SGDNesterov8bit", "schedulefreeadamw": "AdamWScheduleFree",
    "schedulefreesgd": "SGDScheduleFree", "adamwschedulefreekahan": "AdamWScheduleFree",
    "adamw8bitpaged": "PagedAdamW8bit", "lion8bitpaged": "PagedLion8bit", "adamwpaged": "PagedAdamW32bit",
    "dadaptadagrad": "DAdaptAdaGrad", "prodigy8bit": "Prodigy",
}  # fmt: skip
"""Small letters and digits of a name -> our name."""
MAKER_PATTERN = re.compile(r"^(optimi|bnb|ao|torch|torchao)[-_.]|[-_](bf16|fp32)$")
"""What a name says of where the optimizer is from, or of its numbers."""
SCHEDULES = {
    "cosine_with_hard_restarts": "cosine_with_restarts", "cosine_annealing": "cosine",
    "constant_with_warmup": "constant_with_warmup",
}  # fmt: skip


@dataclass
class Taken:
    """Options in sd-scripts' words, each with the key it came from."""

    flat: Flat
    options: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """Keys that need no look."""
    several: set[str] = field(default_factory=set)
    """Options of which the file has several and only the first is taken."""
    sdxl: bool | None = None
    prompts: tuple[str, list[str]] | None = None
    """A key, and the sample prompts that it stands for."""
    datasets: list[dict[str, Any]] = field(default_factory=list)
    """Folders of pictures, as a dataset file of sd-scripts has them."""
    remarks: list[tuple[str, Any, str]] = field(default_factory=list)
    """Keys to look at, each with its value and the code of what is said about it."""
    family: tuple[str, str] | None = None
    """A key, and a family of models that cannot be trained here."""

    def take(self, option: str, key: str, value: Any) -> None:
        """An option from the value of a key; nothing where the file has none."""
        if value is None or value == "":
            return
        self.options[option], self.keys[option] = value, key
        self.used.add(key)

    def take_all(self, names: Mapping[str, str], start: str = "") -> None:
        """Options that have the values of keys as they are."""
        for key, option in names.items():
            self.take(option, start + key, self.flat.get(start + key))

    def argument(self, option: str, key: str, name: str, value: Any) -> None:
        """One of network_args or optimizer_args; nothing where the file has none."""
        if value is None or value == "":
            return
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        self.options.setdefault(option, []).append(f"{name}={text}")
        self.keys.setdefault(option, key)
        self.used.add(key)

    def word(self, key: str) -> str:
        """A value in small letters."""
        return str(self.flat.get(key) or "").lower()

    def optimizer(self, key: str) -> None:
        """An optimizer by its name in another program."""
        name = self.word(key)
        plain = re.sub(r"[^a-z0-9]", "", MAKER_PATTERN.sub("", MAKER_PATTERN.sub("", name)))
        self.take("optimizer_type", key, OPTIMIZERS.get(plain, self.flat.get(key)))

    def schedule(self, key: str) -> None:
        """A schedule by its name in another program."""
        self.take("lr_scheduler", key, SCHEDULES.get(self.word(key), self.flat.get(key)))

    def precision(self, key: str, option: str) -> None:
        """ "BFLOAT_16", "bf16" or "float32" as sd-scripts has it."""
        if word := self.word(key):
            name = _precision(word)
            self.take(option, key, "no" if name == "float" and option == "mixed_precision" else name)

    def sizes(self, key: str) -> None:
        """The first of several sizes, as the trainer's own number or W,H."""
        found = sizes(self.flat.get(key))
        if found:
            self.take("resolution", key, found[0])
        if len(found) > 1:
            self.several.add("resolution")

    def folder(self, subset: dict[str, Any]) -> None:
        """One folder of pictures more, of those that are all learned in one size."""
        if not self.datasets:
            self.datasets.append({"subsets": []})
        self.datasets[0]["subsets"].append(subset)

    def switch(self, option: str, key: str) -> None:
        """A switch, however it is said."""
        if self.flat.get(key) not in (None, ""):
            self.take(option, key, is_on(self.flat[key]))

    def known_family(self, key: str, beginnings: Iterable[str]) -> None:
        """Note a family that is none of these (beginnings, small letters)."""
        word = self.word(key)
        if word and not word.startswith(tuple(beginnings)):
            self.family = key, str(self.flat[key])
        elif word:
            self.used.add(key)


def _precision(word: str) -> str:
    plain = word.replace("_", "").replace("torch.", "")
    if "bf16" in plain or "bfloat16" in plain:
        return "bf16"
    return "fp16" if plain in ("fp16", "float16") else "float"


def sizes(value: Any) -> list[str]:
    """A size or several, each once, as the trainer's own number or W,H."""
    texts = value if isinstance(value, list) else str(value or "").split(",")
    return list(
        dict.fromkeys(_size(text) for text in texts if str(text).strip() and not isinstance(text, bool))
    )


def _size(text: Any) -> str:
    """ "512", "768x512" or 1024.0 as sd-scripts has it."""
    return str(text).strip().lower().replace("x", ",").removesuffix(".0")


def is_on(value: Any) -> bool:
    """Whether a value of any form says yes."""
    return value is True or str(value).lower() in ("true", "on", "1", "yes", "cpu_offloaded")


def number(value: Any) -> float | None:
    """A value as a number; None for none."""
    return None if isinstance(value, bool) else as_number(str(value))
