"""A LoRA file in the other naming: kohya's (A1111, Forge, ComfyUI) or diffusers' and PEFT's, and back.

The numbers stay as they are. Alphas, which diffusers' format keeps in its metadata (`lora_adapter_metadata`),
go there and come back from there, so that nothing is lost on the way.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from trainer.errors import UserError
from trainer.families.family import Family
from trainer.families.lora_family import lora_family
from trainer.families.table import FAMILIES
from trainer.files.safetensors_writer import Planned, write_safetensors
from trainer.lora.shapes import Shape, by_module
from trainer.tools.lora_files import Progress, has_factors, reported, require_whole, silent

if TYPE_CHECKING:
    from trainer.models.tensor_file import TensorFile

NameStyle = Literal["kohya", "diffusers"]
CONFIG = "lora_adapter_metadata"
"""Key of diffusers' metadata entry: PEFT's configuration of each part, as JSON."""
PART = re.compile(r"(?:base_model\.model\.)?(unet|text_encoder_2|text_encoder)\.(.+)")
ENTRIES = {
    "lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight",
    "lora.down.weight": "lora_down.weight", "lora.up.weight": "lora_up.weight",
    "lora_linear_layer.down.weight": "lora_down.weight",
    "lora_linear_layer.up.weight": "lora_up.weight", "lora_magnitude_vector": "dora_scale",
    "lora_magnitude_vector.weight": "dora_scale", "alpha": "alpha",
}  # fmt: skip
"""diffusers' and PEFT's names of a module's tensors -> kohya's."""
TEXT_MODEL = "text_model."
BACK = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}


class Move(NamedTuple):
    """One tensor of the new file: where it comes from, or the number it is."""

    source: str
    shape: Shape
    number: float | None = None


def naming_of(names: Mapping[str, Any], path: Path) -> NameStyle:
    """The naming of a LoRA file's tensors. Raises UserError where it is neither."""
    if any(name.startswith(("lora_unet_", "lora_te")) for name in names):
        return "kohya"
    if any(_place_of(name) for name in names):
        return "diffusers"
    raise UserError("files.no_lora", "lora", name=path.name)


def convert(path: Path, output: Path, report: Progress = silent) -> NameStyle:
    """Write `path` in the other naming to `output`; returns that naming.

    Raises UserError for a file that is no plain LoRA of a known family, StopRequested, OSError.
    """
    from trainer.models.tensor_file import open_tensor_file

    file = open_tensor_file(path, "lora")
    to_kohya = naming_of(file.shapes, path) == "diffusers"
    moves, metadata = _kohya(file, path) if to_kohya else _diffusers(file, path)
    _write(file, output, moves, metadata, hashes=to_kohya, report=report)
    return "kohya" if to_kohya else "diffusers"


def _write(
    file: TensorFile,
    output: Path,
    moves: Mapping[str, Move],
    metadata: Mapping[str, str],
    *,
    hashes: bool,
    report: Progress,
) -> None:
    import torch

    from trainer.models.tensor_file import STORED_DTYPES, raw_bytes

    kinds = {dtype: kind for kind, dtype in STORED_DTYPES.items()}
    planned = {name: Planned(kinds[file.dtypes[move.source]], move.shape) for name, move in moves.items()}

    def read(name: str) -> memoryview:
        tensor = file.read(moves[name].source)
        number = moves[name].number
        tensor = torch.tensor(number, dtype=tensor.dtype) if number is not None else tensor
        return raw_bytes(tensor)

    output.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(output, planned, reported(read, len(moves), report), metadata, hashes=hashes)


def _diffusers(file: TensorFile, path: Path) -> tuple[dict[str, Move], dict[str, str]]:
    """kohya -> diffusers."""
    from trainer.models.lora_names import diffusers_path

    modules = by_module(file.shapes)
    family = _family(file)
    moves: dict[str, Move] = {}
    sizes: dict[str, dict[str, tuple[int, float]]] = {}
    dora = False
    for name, shapes in modules.items():
        require_writable(name, shapes, path)
        place = diffusers_path(name, family)
        if place is None:
            raise UserError("tools.convert_no_place", "lora", name=path.name, module=name)
        part, inside = place
        for entry, other in BACK.items():
            shape = (
                _squeezed(shapes[entry])
                if family.linear_as_convolution and _is_linear(inside)
                else shapes[entry]
            )
            moves[f"{part}.{inside}.{other}"] = Move(f"{name}.{entry}", shape)
        if "dora_scale" in shapes:
            dora, count = True, shapes["lora_up.weight"][0]
            down = moves[f"{part}.{inside}.{BACK['lora_down.weight']}"]
            # As PEFT keeps the lengths of a layer's rows.
            shape = (1, count, 1, 1) if len(down.shape) > 2 else (count,)
            moves[f"{part}.{inside}.lora_magnitude_vector"] = Move(f"{name}.dora_scale", shape)
        rank = shapes["lora_down.weight"][0]
        alpha = float(file.read(f"{name}.alpha")) if "alpha" in shapes else float(rank)
        sizes.setdefault(part, {})[inside] = rank, alpha
    config = {
        f"{part}.{key}": value for part, own in sizes.items() for key, value in _config(own, dora).items()
    }
    kept = {key: text for key, text in file.metadata.items() if not key.startswith("sshs_")}
    return moves, {**kept, "format": "pt", CONFIG: json.dumps(config, sort_keys=True)}


def require_writable(module: str, shapes: Mapping[str, Shape], path: Path) -> None:
    """Raise UserError for a module of kohya's naming whose kind diffusers' format does not have."""
    require_whole(module, shapes, path, "lora")
    if not set(BACK) <= shapes.keys() <= {*BACK, "alpha", "dora_scale"} or _has_lengths_of_columns(shapes):
        resizes = has_factors(module, shapes, path, "lora")
        code = "tools.convert_only_plain" if resizes else "tools.convert_needs_model"
        raise UserError(code, "lora", name=path.name, module=module)


def _has_lengths_of_columns(shapes: Mapping[str, Shape]) -> bool:
    """Whether DoRA's lengths are LyCORIS' own; PEFT keeps those of rows."""
    return "dora_scale" in shapes and math.prod(shapes["dora_scale"]) != shapes["lora_up.weight"][0]


def _config(sizes: Mapping[str, tuple[int, float]], dora: bool) -> dict[str, Any]:
    """PEFT's configuration of one part: the most frequent size, and by module what differs."""
    from collections import Counter

    (rank, alpha), _ = Counter(sizes.values()).most_common(1)[0]
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": [path.removeprefix(TEXT_MODEL) for path in sizes],
        "use_dora": dora,
        "rank_pattern": {_pattern(path): size[0] for path, size in sizes.items() if size[0] != rank},
        "alpha_pattern": {_pattern(path): size[1] for path, size in sizes.items() if size[1] != alpha},
    }


def _pattern(path: str) -> str:
    """By which PEFT finds a module; since transformers 5 text encoders have no "text_model" in it."""
    shorter = path.removeprefix(TEXT_MODEL)
    start = "" if shorter == path else f"({re.escape(TEXT_MODEL)})?"
    return f"^{start}{re.escape(shorter)}$"


def _kohya(file: TensorFile, path: Path) -> tuple[dict[str, Move], dict[str, str]]:
    """diffusers -> kohya."""
    from trainer.models.lora_names import kohya_module

    places = {name: place for name in file.shapes if (place := _place_of(name))}
    family = _family(file)
    configs = _configs(file.metadata)
    downs = {name: place for name, place in places.items() if place[2] == "lora_down.weight"}
    axes = {place[:2]: len(file.shapes[name]) for name, place in downs.items()}
    moves: dict[str, Move] = {}
    for name, (part, inside, entry) in places.items():
        module = kohya_module(part, inside, family)
        if module is None:
            raise UserError("tools.convert_no_place", "lora", name=path.name, module=name)
        shape = file.shapes[name]
        as_convolution = family.linear_as_convolution and _is_linear(inside)
        if as_convolution and entry in BACK:
            shape = (*shape, 1, 1)[:4]
        if entry == "dora_scale":  # one length for each row: (out, 1), of convolutions (out, 1, 1, 1)
            shape = (math.prod(shape), *[1] * (3 if as_convolution else axes.get((part, inside), 2) - 1))
        moves[f"{module}.{entry}"] = Move(name, shape)
        if entry == "lora_down.weight" and f"{_before(name)}.alpha" not in file.shapes:
            alpha = _alpha(configs.get(part, {}), inside, shape[0])
            moves[f"{module}.alpha"] = Move(name, (), alpha)
    kept = {key: text for key, text in file.metadata.items() if key not in {CONFIG, "format"}}
    return moves, kept


def _place_of(name: str) -> tuple[str, str, str] | None:
    """(part, path, kohya's entry) of a tensor in diffusers' naming."""
    place, split = PART.fullmatch(name), _split(name)
    if not place or not split:
        return None
    inside = place[2].removesuffix(name.removeprefix(split[0]))
    return place[1], inside.replace(".processor.to_", ".to_"), split[1]


def _before(name: str) -> str:
    split = _split(name)
    return split[0] if split else name


def _split(name: str) -> tuple[str, str] | None:
    """What stands before a tensor's entry, and kohya's name of it (older files have to_k_lora.down)."""
    for ending, entry in ENTRIES.items():
        if name.endswith((f".{ending}", f"_{ending}")):
            return name[: -len(ending) - 1], entry
    return None


def _configs(metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """PEFT's configuration of each part, where the file tells it."""
    try:
        flat = json.loads(metadata.get(CONFIG, "{}"))
        parts = [(key.partition("."), value) for key, value in flat.items()]
    except (ValueError, AttributeError):
        return {}
    configs: dict[str, dict[str, Any]] = {}
    for (part, _, key), value in parts:
        configs.setdefault(part, {})[key] = value
    return configs


def _alpha(config: Mapping[str, Any], inside: str, rank: int) -> float:
    """A module's alpha by PEFT's configuration; its rank where none tells it."""
    patterns = config.get("alpha_pattern")
    for pattern, alpha in patterns.items() if isinstance(patterns, dict) else ():
        # Only patterns that stand for one module, as PEFT and we write them: others may run for ever.
        if pattern in {_pattern(inside), f"^{re.escape(inside)}$", inside} and isinstance(alpha, int | float):
            return float(alpha)
    alpha = config.get("lora_alpha", rank)
    return float(alpha) if isinstance(alpha, int | float) else float(rank)


def _family(file: TensorFile) -> Family:
    """The family that a LoRA was made for; where nothing tells it SD1, whose names SD2 shares."""
    return FAMILIES[lora_family(file.shapes, file.metadata) or "sd1"]


def _is_linear(inside: str) -> bool:
    return inside.endswith((".proj_in", ".proj_out"))


def _squeezed(shape: Shape) -> Shape:
    return shape[:2] if set(shape[2:]) <= {1} else shape
