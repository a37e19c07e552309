"""Recognise what a file or a pasted text is, and read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.files.reading import check_values, parse_json, parse_toml, parse_yaml, read_bytes
from trainer.files.roots import MayRead
from trainer.kohya.beside import Beside
from trainer.kohya.command import Command, is_command, is_of_caller, read_command, shell_variables
from trainer.kohya.datasets import is_dataset, take_dataset
from trainer.kohya.draft import OWN, Draft
from trainer.kohya.foreign import foreign_draft, program_of, read_foreign, simpletuner
from trainer.kohya.lora_metadata import read_lora
from trainer.kohya.read_kohya import read_kohya
from trainer.kohya.read_sd_scripts import draft_from_options
from trainer.kohya.report import Entry, Imported
from trainer.kohya.sd_defaults import DEFAULTS

SD_SCRIPTS_ONLY = {"network_module", "optimizer_type", "resolution", "network_args"}
KOHYA_ONLY = {"LoRA_type", "max_resolution", "optimizer", OWN}
"""kohya_ss's own names for what sd-scripts calls otherwise."""
YAML = re.compile(r"^(---|job:|config:\s*$)|\A(?:[^\S\n]*(?:#.*)?\n)*[A-Za-z_]\w*:(?:\s|$)", re.MULTILINE)
"""Beginnings of lines by which a text is YAML (ai-toolkit's); a first line as no TOML has it. Blank lines and
comments before it are passed in one way only: were there two for each, many of them would never end.
"""
TRAINED_KIND = "model_train_type"
"""Of lora-scripts' files: "sd-lora", "sdxl-lora", "flux-lora" …"""
PICKLES = (".ckpt", ".pt", ".pth", ".bin")


def read(
    source: Mapping[str, Any] | Path | str, may_read: MayRead | None = None, encoding: str = ""
) -> Imported:
    """Settings and a report from a mapping, a file's path, or a pasted text.

    `may_read` says which other files may be opened that a command or TOML names (None: any), `encoding` how
    to read files that are not UTF-8 (a name of `trainer.files.reading.readings`; "": the likeliest).
    Raises UserError, and nothing else, when it cannot be read at all.
    """
    if isinstance(source, Mapping):
        check_values(source, "…")
        files = Beside(may_read=may_read, encoding=encoding)
        return _with_readings(_read_mapping(source, files), files)
    if isinstance(source, str) and (_is_pasted(source)):
        return read_text(source, may_read=may_read, encoding=encoding)
    return read_file(Path(source), may_read, encoding)


def _is_pasted(text: str) -> bool:
    start = text.lstrip()[:1]
    return "\n" in text or len(text) > 1000 or start in ("{", "[") or is_command(text)


def read_file(path: Path, may_read: MayRead | None = None, encoding: str = "") -> Imported:
    """Settings from a file; what it is shows in its name and content."""
    if path.suffix.lower() in PICKLES:
        raise UserError("kohya.pickle", path=path.name)
    if path.suffix.lower() == ".safetensors":
        if not path.is_file():
            raise UserError("kohya.no_file", path=str(path))
        return read_lora(path)
    return read_data(read_bytes(path), str(path), may_read, encoding)


def read_data(
    data: bytes,
    path: str,
    may_read: MayRead | None = None,
    encoding: str = "",
    *,
    handed_over: bool = False,
) -> Imported:
    """Settings from a text file's bytes; where it is not UTF-8, the report says how it was read."""
    files = Beside(path, handed_over, may_read, encoding)
    text = files.text(data, Path(path).name)
    return _with_readings(_read_text(text, files), files)


def read_text(
    text: str,
    path: str = "",
    may_read: MayRead | None = None,
    encoding: str = "",
    *,
    handed_over: bool = False,
) -> Imported:
    """Settings from text: JSON, TOML or a command. `path`: the file it came from, if any; with `handed_over`
    only its name.
    """
    files = Beside(path, handed_over, may_read, encoding)
    return _with_readings(_read_text(text, files), files)


def _with_readings(imported: Imported, files: Beside) -> Imported:
    """What is read in one way of several stands first in the report."""
    if not files.readings:
        return imported
    entries = (*files.asked(), *imported.report.entries)
    return replace(imported, report=replace(imported.report, entries=entries, readings=tuple(files.readings)))


def _read_text(text: str, files: Beside) -> Imported:
    path = files.path
    name = Path(path).name or "…"
    text = text.lstrip("\ufeff")
    if not text.strip():
        raise UserError("kohya.empty", path=name)
    shell = re.match(r"\s*\{\s+\w", text) and is_command(text)  # { a; b; } of a shell
    lists = re.match(r"\s*\[\s*[{\"]", text)  # of JSON: no TOML begins so
    if (text.lstrip().startswith("{") and not shell) or lists or path.lower().endswith(".json"):
        return _read_mapping(parse_json(text, name), files)
    if options := simpletuner.options_of_env(text):
        return read_foreign(options, "simpletuner", files)
    if not path.lower().endswith(".toml") and is_command(text):
        return _from_command(read_command(text, powershell=path.lower().endswith(".ps1")), files)
    if path.lower().endswith((".yaml", ".yml")) or YAML.search(text):
        return _read_mapping(parse_yaml(text, name), files)
    table = parse_toml(text, name)
    if OWN in table or is_dataset(table) or program_of(table):
        return _read_mapping(table, files)
    return _with_hidden(_read_mapping(flatten(table), files), table)


def _read_mapping(data: Mapping[str, Any], files: Beside) -> Imported:
    """Settings from kohya_ss's keys, from ours, from sd-scripts', another program's, or a dataset_config."""
    if OWN not in data and (program := program_of(data)):
        return read_foreign(data, program, files)
    if is_dataset(data):
        beside, datasets = _apart(data)
        draft = _from_options(beside, None, files) if beside else Draft({})
        take_dataset(draft, datasets, files.place)
        sections = {key: value for key, value in data.items() if key not in datasets}
        return _with_hidden(draft.finish("sd_scripts"), sections)
    flat = flatten(data)
    if SD_SCRIPTS_ONLY & set(flat) and not KOHYA_ONLY & set(data):
        draft = _from_options(flat, None, files)
        known_keys = sum(key in DEFAULTS for key in flat)
        return draft.finish(
            "sd_scripts" if 2 * known_keys >= len(flat) or "network_module" in flat else "unknown"
        )
    return read_kohya(data)


def _apart(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of a run, and the datasets that stand in the same file."""
    datasets = {key: data[key] for key in ("general", "datasets") if key in data}
    return flatten({key: value for key, value in data.items() if key not in datasets}), datasets


def flatten(data: Mapping[str, Any]) -> dict[str, Any]:
    """sd-scripts' TOML may be divided into sections; their names mean nothing."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat.update(value if isinstance(value, Mapping) else {key: value})
    return flat


def _with_hidden(imported: Imported, data: Mapping[str, Any]) -> Imported:
    """With a line for each key that a later section of the file has once more: that one counts."""
    names = [(section, key) for section, value in data.items() if isinstance(value, Mapping) for key in value]
    names += [("", key) for key, value in data.items() if not isinstance(value, Mapping)]
    order = {section: at for at, section in enumerate(data)}
    last: dict[str, int] = {}
    for section, key in names:
        last[key] = max(last.get(key, 0), order[section or key])
    entries = [
        Entry(f"{section}.{key}", "unknown", was=data[section][key], why="kohya.key_hidden", attention=True)
        if section
        else Entry(key, "unknown", was=data[key], why="kohya.key_hidden", attention=True)
        for section, key in names
        if order[section or key] < last[key]
    ]
    report = replace(imported.report, entries=(*entries, *imported.report.entries))
    return replace(imported, report=report) if entries else imported


def _from_command(command: Command, files: Beside) -> Imported:
    files = replace(files, written=command.script.written)
    if command.of_diffusers:
        draft = foreign_draft(command.options, "diffusers", files, sdxl=command.sdxl or None)
        return _with_rest(draft, command).finish("diffusers")
    typed = dict(command.options)
    config = typed.pop("config_file", None)
    inside: dict[str, Any] = {}
    if config:
        inside = _table(str(config), files)
    datasets: dict[str, Any] = {}
    if is_dataset(inside):
        inside, datasets = _apart(inside)
    draft = _from_options({**inside, **typed}, command.sdxl, files)
    if datasets and not typed.get("dataset_config"):
        take_dataset(draft, datasets, str(config))
    if config:
        inside = inside or datasets
        read_it = "kohya.config_read" if inside else "kohya.config_not_read"
        draft.add("config_file", "taken" if inside else "unknown", config, now=config if inside else None,
                  why=read_it, attention=not inside)  # fmt: skip
    return _with_rest(draft, command).finish("sd_scripts")


def _with_rest(draft: Draft, command: Command) -> Draft:
    """What stands around the options: the launcher's own, loose words, what only the shell knew."""
    for option, value in command.launcher.items():
        if option == "mixed_precision":
            draft.add("accelerate --mixed_precision", "unknown", value, why="kohya.script_decides")
        else:
            draft.forget(option)
            draft.take(option, value, key=f"accelerate --{option}")
    for option in command.twice:
        draft.remark(option, "kohya.option_twice")
    for word in command.loose:
        why = "kohya.loose_variable" if is_of_caller(word) else "kohya.loose_word"
        draft.add(word[:80], "unknown", word, why=why, attention=True)
    for option in shell_variables(command.options):
        draft.remark(option, "kohya.shell_variable")
    for question in command.script.asked:
        draft.add("if", "unknown", question, why="kohya.condition", attention=True)
    if more := command.script.more:
        only_if = command.script.only_if
        why = "kohya.alternative_commands" if only_if else "kohya.more_commands"
        draft.add("…", "unknown", more, why=why, values={"only_if": only_if}, attention=True)
    return draft


def _from_options(typed: Mapping[str, Any], sdxl: bool | None, files: Beside) -> Draft:
    kind = str(typed.get(TRAINED_KIND) or "").lower()
    if kind and sdxl is None:
        sdxl = kind.startswith("sdxl")
    draft = draft_from_options({key: value for key, value in typed.items() if key != TRAINED_KIND}, sdxl=sdxl)
    if kind in ("sd-lora", "sdxl-lora"):
        draft.add(TRAINED_KIND, "taken", typed[TRAINED_KIND], now=typed[TRAINED_KIND])
    elif kind:
        draft.add(
            TRAINED_KIND, "other_family", typed[TRAINED_KIND], why="kohya.foreign_family", attention=True
        )
    prompts = typed.get("sample_prompts")
    if isinstance(prompts, str) and prompts:
        _prompts(draft, prompts, files)
    dataset = typed.get("dataset_config")
    if isinstance(dataset, str) and dataset:
        inside = _table(dataset, files)
        if inside and is_dataset(inside):
            draft.forget("dataset_config")
            found = None if dataset in files.written else files.table_file(dataset)
            take_dataset(draft, inside, str(found) if found else dataset)
        else:
            note = {"note": "kohya.dataset_not_read", "attention": True}
            draft.entries = [
                replace(entry, **note) if entry.key == "dataset_config" else entry for entry in draft.entries
            ]
    return draft


def _prompts(draft: Draft, name: str, files: Beside) -> None:
    """The lines of a prompt file, where it is at hand."""
    lines = files.lines(name)
    if lines is None:
        return
    draft.own.get("sd_scripts", {}).pop("sample_prompts", None)
    if not draft.own.get("sd_scripts"):
        draft.own.pop("sd_scripts", None)
    draft.entries = [entry for entry in draft.entries if entry.key != "sample_prompts"]
    draft.take("sample_prompts", lines.strip(), was=name, why="kohya.prompts_read")


def _table(name: str, files: Beside) -> dict[str, Any]:
    data = files.table(name)
    return dict(data) if is_dataset(data) else flatten(data)
