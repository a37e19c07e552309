"""What stands in any tool's way: blanks, files that are missing, results that exist already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.errors import UserError
from trainer.files.paths import LONGEST_FILE_NAME, can_exist
from trainer.files.roots import Roots
from trainer.preflight.values import typed_form
from trainer.problems import Problem, block, from_error
from trainer.schema import Form, Setting
from trainer.tools.lora_files import free_path
from trainer.tools.places import NEW, FormPath, cannot_write, form_with_clean_paths, outside, places
from trainer.tools.shares import shares
from trainer.tools.tool import Tool

ENDINGS = {
    "lora": (".safetensors", ".ckpt", ".pt", ".bin"), "new_file": (".safetensors",),
    "picture": (".png", ".jpg", ".jpeg", ".webp", ".bmp"),
}  # fmt: skip


def check_values(
    tool: Tool, values: Mapping[str, Any], roots: Roots | None = None
) -> tuple[Form | None, list[Problem]]:
    """Problems of what stands in a tool's form, those that stop it first; the form is None where one does."""
    form, bad = typed_form(values, tool.schema)
    own = {problem.setting for problem in bad}
    problems = [*bad, *(problem for problem in check(tool, form, roots) if problem.setting not in own)]
    problems.sort(key=lambda problem: not problem.blocks)
    return (
        None if any(problem.blocks for problem in problems) else form_with_clean_paths(form, tool.schema)
    ), problems


def check(tool: Tool, form: Form, roots: Roots | None = None) -> list[Problem]:
    """Problems of a form. Where something leads out of strict `roots`, nothing else is looked at."""
    form = form_with_clean_paths(form, tool.schema)
    if problems := outside(form, tool.schema, roots):
        return problems
    problems = [*_blanks(tool, form), *_shares(tool, form)]
    for place in places(form, tool.schema):
        problems += _looked_at(place)
    if any(problem.blocks for problem in problems):
        return problems
    try:
        return [*problems, *tool.check(form)]
    except UserError as error:
        return [*problems, from_error(error)]
    except OSError as error:  # gone or locked meanwhile
        path = str(error.filename or "")
        return [*problems, block("", "training.file_error", path=path, reason=error.strerror or str(error))]


def require_form(tool: Tool, form: Form, roots: Roots | None = None) -> Form:
    """The form as it is meant. Raises UserError for the first problem that stops it."""
    for problem in check(tool, form, roots):
        if problem.blocks:
            raise UserError(problem.code, problem.setting, **problem.values)
    return form_with_clean_paths(form, tool.schema)


def job_name(tool: Tool, form: Form) -> str:
    """What a job is called: its result, else what it looks at, else the tool."""
    paths = sorted(places(form, tool.schema), key=lambda place: not place.is_new)
    return paths[0].path.name if paths else tool.name


def _blanks(tool: Tool, form: Form) -> Iterator[Problem]:
    values = form.flat()
    for key, setting in tool.schema.items():
        blank = not str(values[key] or "").strip()
        if setting.spec.required and blank and tool.schema.matters(key, values):
            proposed = proposal(tool, form) if setting.spec.widget in NEW else None
            fix = {key: str(proposed)} if proposed else None
            yield block(key, "tools.blank", fix, label=setting.spec.label)


def proposal(tool: Tool, form: Form) -> Path | None:
    """A place for the result, beside the first thing that is read; None while nothing is."""
    first = next((place.path for place in places(form, tool.schema) if not place.is_new), None)
    try:
        return _beside(tool, first) if first and first.is_absolute() and first.exists() else None
    except OSError:  # a name that no system can have, or a folder that is closed: told at its setting
        return None


def _beside(tool: Tool, first: Path) -> Path:
    widgets = {setting.spec.widget for setting in tool.schema.values()}
    is_folder = "new_folder" in widgets or ("new_model" in widgets and first.is_dir())
    stem = first.name if first.is_dir() else first.stem
    return free_path(first.with_name(f"{stem}-{tool.suffix}" + ("" if is_folder else ".safetensors")))


def _shares(tool: Tool, form: Form) -> Iterator[Problem]:
    for key, setting in tool.schema.items():
        if setting.spec.widget == "shares":
            try:
                shares(str(form.get(key)), key)
            except UserError as error:
                yield from_error(error)


def _looked_at(place: FormPath) -> list[Problem]:
    values: dict[str, Any] = {"label": place.setting.spec.label}
    key, path = place.setting.key, str(place.path)
    if not can_exist(path):
        return [block(key, "preflight.path_impossible", **values, path=path[:60])]
    try:
        return [*(_new(place) if place.is_new else _there(place))]
    except PermissionError:
        return [block(key, "preflight.path_closed", **values, path=path[:300])]


def _there(place: FormPath) -> Iterator[Problem]:
    """What is read must be there, and of its kind."""
    path, widget, key = place.path, place.setting.spec.widget, place.setting.key
    values: dict[str, Any] = {"label": place.setting.spec.label, "path": str(path)[:300]}
    if not path.exists():
        yield block(key, "tools.missing", **values)
    elif not path.is_file() and not path.is_dir():  # reading it would wait for ever
        yield block(key, "tools.no_kind", **values)
    elif widget == "folder" and not path.is_dir():
        yield block(key, "tools.no_folder", {key: str(path.parent)}, **values)
    elif widget not in ("folder", "model") and not path.is_file():
        yield block(key, "tools.no_file", **values)
    elif endings := _wrong_ending(path, place.setting):
        yield block(key, "tools.ending", endings=endings, **values)


def _wrong_ending(path: Path, setting: Setting) -> tuple[str, ...]:
    widget = "lora" if setting.spec.widget == "shares" else setting.spec.widget
    endings = ENDINGS.get(widget, ())
    return () if path.suffix.lower() in endings else endings


def _new(place: FormPath) -> Iterator[Problem]:
    """What is written must have a free name, in a folder that is there or can be made."""
    path, key = place.path, place.setting.key
    values: dict[str, Any] = {"label": place.setting.spec.label, "path": str(path)[:300]}
    goes_on = place.setting.spec.widget == "new_folder" and path.is_dir()
    if not path.is_absolute():
        yield block(key, "tools.relative", **values)
    elif problem := cannot_write(place.setting, path if goes_on else path.parent):
        yield problem
    elif len(path.name.encode()) > LONGEST_FILE_NAME:  # it could not be written at the end of the work
        yield block(key, "tools.long_name", **values, most=LONGEST_FILE_NAME)
    elif place.setting.spec.widget == "new_file" and _wrong_ending(path, place.setting):
        named = path.with_name(f"{path.name}.safetensors")
        yield block(key, "tools.ending_new", {key: str(free_path(named))}, **values)
    elif (path.exists() or path.is_symlink()) and not goes_on:
        yield block(key, "tools.exists", {key: str(free_path(path))}, **values)
