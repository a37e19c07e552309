"""Train again like this one: settings out of a LoRA file, from its header alone."""

from __future__ import annotations

import ast
import json
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.families.facts import ModelUnreadableError, read_shapes
from trainer.families.lora_family import lora_family
from trainer.families.table import FAMILIES
from trainer.families.unet import Shapes
from trainer.files.reading import parse_json
from trainer.files.stand_ins import stand_in
from trainer.kohya.draft import OWN, Draft
from trainer.kohya.read_kohya import read_kohya
from trainer.kohya.read_sd_scripts import draft_from_options
from trainer.kohya.report import Imported
from trainer.kohya.sd_defaults import DEFAULTS
from trainer.lora.types import rank_of

OPTION_NAMES = {
    "ss_batch_size_per_device": "train_batch_size", "ss_optimizer": "optimizer_type",
    "ss_debiased_estimation": "debiased_estimation_loss", "ss_sd_model_name": "pretrained_model_name_or_path",
    "ss_vae_name": "vae",
}  # fmt: skip
"""Entries whose name is not `ss_` and sd-scripts' option."""
MODELSPEC = {
    "modelspec.title": "metadata_title", "modelspec.author": "metadata_author",
    "modelspec.description": "metadata_description", "modelspec.license": "metadata_license",
    "modelspec.tags": "metadata_tags",
}  # fmt: skip
CLASSES = {"SGD": "SGDNesterov", "SGD8bit": "SGDNesterov8bit", "DAdaptAdamPreprint": "DAdaptAdamPreprint"}
"""Class of an optimizer -> its name in the list, where they differ."""
CONVOLUTIONS = re.compile(r"_(conv[12]|samplers_\d_conv|conv_in|conv_out)$")
"""Names of the modules with 3x3 convolutions."""
OUR_ENTRY = OWN
"""Our trainer's own entry: the run's settings in kohya_ss's JSON."""


def read_lora(path: Path) -> Imported:
    """Settings of the run that made a LoRA file. Raises UserError when it is none or is damaged."""
    try:
        shapes, metadata = read_shapes(path)
    except (ModelUnreadableError, RecursionError) as error:
        code = stand_in(path) or "kohya.damaged_lora"
        raise UserError(code, path=path.name, name=path.name) from error
    except OSError as error:
        raise UserError("kohya.unreadable", path=path.name, reason=str(error)) from error
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        metadata = {}
    if not _is_lora(shapes):
        raise UserError("kohya.no_lora", path=path.name)
    if OUR_ENTRY in metadata:
        ours = read_kohya(parse_json(metadata[OUR_ENTRY], path.name))
        return replace(ours, report=replace(ours.report, source="lora_file"))
    if any(key.startswith("ss_") for key in metadata):
        return _from_metadata(metadata, shapes)
    return _from_shapes(path, shapes)


def _is_lora(shapes: Shapes) -> bool:
    return any(re.search(r"lora_|hada_|lokr_|oft_|\.diff|dora_scale", name) for name in shapes)


def _from_metadata(metadata: Mapping[str, str], shapes: Shapes) -> Imported:
    settings: dict[str, Any] = {}
    names: dict[str, str] = {}
    for key, text in metadata.items():
        option = OPTION_NAMES.get(key) or MODELSPEC.get(key) or key.removeprefix("ss_")
        if option in DEFAULTS and (key.startswith("ss_") or key in MODELSPEC):
            settings[option], names[option] = _value(option, text), key
    settings |= _special(metadata, shapes, settings)
    if settings.get("metadata_title") == settings.get(
        "output_name"
    ):  # what the trainer writes where no title is given
        settings.pop("metadata_title", None)
    for option in ("pretrained_model_name_or_path", "vae"):  # often a file's name without its place
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(settings.get(option) or "")):
            settings.pop(option, None)
    names["sdxl"] = "ss_base_model_version"
    draft = Draft({})
    for entry in draft_from_options(settings, sdxl=lora_family(shapes, metadata) == "sdxl").entries:
        option = entry.key.partition(" ")[0]
        if entry.setting and (option in settings or option == "sdxl"):
            draft.adopt(entry, names.get(option, entry.key))
    _facts(draft, metadata)
    return draft.finish("lora_file")


def _value(option: str, text: str) -> Any:
    """Metadata is all text: "None", "True", "(512, 512)", "[5e-05, 5e-05]", "{…}"."""
    if option in ("training_comment", "output_name") or option.startswith("metadata_"):
        return "" if text == "None" else text
    if len(text) > 10_000:
        return None
    if option == "network_args" and text.startswith("{"):
        try:
            args = parse_json(text, option)
        except UserError:
            return None
        return [f"{name}={value}" for name, value in args.items() if value is not None]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _special(metadata: Mapping[str, str], shapes: Shapes, values: Mapping[str, Any]) -> dict[str, Any]:
    """Entries that say a setting in other words."""
    special: dict[str, Any] = {}
    optimizer = str(values.get("optimizer_type") or "")
    called = re.match(r"(?:[\w.]+\.)?(\w+)(?:\((.*)\))?$", optimizer)
    if called:
        special["optimizer_type"] = CLASSES.get(called[1], called[1])
        args = [part.strip() for part in re.findall(r"[^,(]+=(?:\([^)]*\)|[^,]*)", called[2] or "")]
        special["optimizer_args"] = [re.sub(r"\s", "", part) for part in args if part]
    if metadata.get("modelspec.prediction_type") == "v":
        special["v_parameterization"] = True
    if not any(name.startswith(("lora_te", "text_encoder")) for name in shapes):
        special["network_train_unet_only"] = True
    elif not any(name.startswith(("lora_unet", "unet.")) for name in shapes):
        special["network_train_text_encoder_only"] = True
    return special


def _facts(draft: Draft, metadata: Mapping[str, str]) -> None:
    """What tells of the run but is no setting."""
    keys = {entry.key for entry in draft.entries}
    for key, text in metadata.items():
        if key in keys:
            continue
        if key == "ss_sd_model_name":
            draft.add(key, "unknown", text, why="kohya.model_by_name", attention=True)
        elif key in ("ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_datasets"):
            draft.add(key, "unknown", _folders(text), why="kohya.folders_by_name")
        else:
            draft.add(key, "unknown", text[:200], why="kohya.fact_of_run")


def _folders(text: str) -> str:
    """{"10_cat": {"n_repeats": 10, "img_count": 7}} as "10_cat (7)"."""
    try:
        folders = json.loads(text) if len(text) < 1_000_000 else {}
    except (ValueError, RecursionError):
        return text[:200]
    if not isinstance(folders, dict):
        return text[:200]
    counts = {
        name: folder.get("img_count", "?") for name, folder in folders.items() if isinstance(folder, dict)
    }
    return ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:20])


def _from_shapes(path: Path, shapes: Shapes) -> Imported:
    """A file without metadata: kind, ranks and alpha stand in its tensors."""
    draft = Draft({})
    ranks, conv = _ranks(shapes)
    kind = _kind(shapes, has_conv=bool(conv))
    draft.take("LoRA_type", kind, key="…", why="kohya.from_tensors")
    if ranks:
        draft.take("network_dim", ranks.most_common(1)[0][0], key="…", why="kohya.from_tensors")
    if conv:
        draft.take("conv_dim", conv.most_common(1)[0][0], key="…", why="kohya.from_tensors")
    alpha = _first_alpha(path)
    if alpha:
        draft.take("network_alpha", alpha, key="…", why="kohya.from_tensors")
    if family := lora_family(shapes, {}):
        for key, value in FAMILIES[family].switches.items():
            draft.take(key, value, key="…", why="kohya.from_tensors")
    if not any(name.startswith(("lora_te", "text_encoder")) for name in shapes):
        draft.take("text_encoder_lr", 0, key="…", why="kohya.unet_only")
    draft.add("__metadata__", "unknown", why="kohya.no_metadata", attention=True)
    return draft.finish("lora_file")


def _kind(shapes: Shapes, *, has_conv: bool) -> str:
    from trainer.kohya.start_file import start_file_of  # it needs this package

    start_file = start_file_of(shapes, {})
    return start_file.type if start_file else "Kohya LoCon" if has_conv else "Standard"


def _ranks(shapes: Shapes) -> tuple[Counter[int], Counter[int]]:
    """How often each rank occurs: in linear and 1x1 layers, and in 3x3 convolutions."""
    from trainer.kohya.start_file import shapes_by_module

    ranks: Counter[int] = Counter()
    conv: Counter[int] = Counter()
    for name, entries in shapes_by_module(shapes).items():
        (conv if CONVOLUTIONS.search(name) else ranks)[rank_of(entries)] += 1
    for name, shape in shapes.items():
        if name.endswith("lora_A.weight") and shape:
            (conv if tuple(shape[2:]) == (3, 3) else ranks)[shape[0]] += 1
    del ranks[0], conv[0]  # modules that show none
    return ranks, conv


def _first_alpha(path: Path) -> float | None:
    """The first alpha among the tensors: one number, a few bytes."""
    formats = {"F32": "<f", "F16": "<e", "F64": "<d", "I64": "<q", "I32": "<i"}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for name, entry in header.items():
            if not name.endswith(".alpha") or entry.get("shape") not in ([], [1]):
                continue
            file.seek(8 + length + entry["data_offsets"][0])
            data = file.read(8)
            if entry["dtype"] == "BF16":
                return struct.unpack("<f", b"\0\0" + data[:2])[0]
            pattern = formats.get(entry["dtype"])
            return struct.unpack(pattern, data[: struct.calcsize(pattern)])[0] if pattern else None
    return None
