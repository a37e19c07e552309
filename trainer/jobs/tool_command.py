"""`python -m trainer tool NAME …`: a tool's settings as options, its job run here, its words printed.

`tool` lists the tools, `tool resize --help` its settings; `tool resize --lora a.safetensors --output
b.safetensors --rank 4 --json` does it and prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from trainer.errors import UserError
from trainer.events import Failed, Notice, Saved, Stopped, read_events
from trainer.files.job_folder import JobFolder, default_workspace
from trainer.files.roots import Roots
from trainer.jobs.run import USER
from trainer.messages import Language, Message, printable, say, texts
from trainer.problems import Problem, block, from_error
from trainer.schema import Setting
from trainer.tools import checks
from trainer.tools.places import NEW, READ
from trainer.tools.table import TOOLS
from trainer.tools.tool import Tool


class RunJob(Protocol):
    """Does a job in this process; returns the exit code."""

    def __call__(self, folder: JobFolder, *, quiet: bool) -> int: ...


def command(words: Sequence[str], language: Language, run: RunJob) -> int:
    """Do what the words behind `tool` ask for; returns the exit code."""
    if not words or words[0] in {"-h", "--help"}:
        print("\n".join(_list(language)))
        return 0
    name, *rest = words
    as_json = "--json" in rest
    if name not in TOOLS:
        if not as_json:
            print(*_list(language), sep="\n", file=sys.stderr)
        return _refused([block("", "tools.unknown", name=name[:60])], language, as_json=as_json)
    tool = TOOLS[name]
    try:
        given = vars(_parser(tool, language).parse_args(rest))
    except UserError as error:
        return _refused([from_error(error)], language, as_json=as_json)
    del given["json"]
    dry = given.pop("dry_run", False)
    values = {key: value for key, value in given.items() if value is not None}
    form, problems = checks.check_values(tool, _absolute(tool, values), Roots.of_environment())
    if form is None:
        return _refused(problems, language, as_json=as_json)
    if not as_json:
        _tell(problems, language)
    if dry and tool.preview:
        lines = [say(message, language).what for message in tool.preview(form)]
        print(json.dumps(lines, ensure_ascii=False, indent=1) if as_json else printable("\n".join(lines)))
        return 0
    folder = JobFolder.create(default_workspace(), form, tool.name, checks.job_name(tool, form))
    code = run(folder, quiet=as_json)
    if as_json:
        print(json.dumps(job_as_json(folder, language), ensure_ascii=False, indent=1))
    return code


def _list(language: Language) -> list[str]:
    told = texts(language)["tools"]
    width = max(map(len, TOOLS))
    return [f"{name:{width}}  {told[name]['about']}" for name in TOOLS]


class _Parser(argparse.ArgumentParser):
    """Says what it cannot read as everything else is said."""

    def error(self, message: str) -> NoReturn:
        raise UserError("tools.command_line", reason=message)


def _parser(tool: Tool, language: Language) -> argparse.ArgumentParser:
    about = texts(language)["tools"][tool.name]["about"]
    parser = _Parser(f"trainer tool {tool.name}", description=about, allow_abbrev=False)
    for key, setting in tool.schema.items():
        _add(parser, tool, key, setting, language)
    parser.add_argument("--json", action="store_true", help="print JSON")
    if tool.preview:
        parser.add_argument("--dry-run", action="store_true", help="list what would be done, and do nothing")
    return parser


def _add(parser: argparse.ArgumentParser, tool: Tool, key: str, setting: Setting, language: Language) -> None:
    """One setting as an option; a setting of several lines may be given several times."""
    names = [f"--{key}", f"--{key.replace('_', '-')}"] if "_" in key else [f"--{key}"]
    told = tool.schema.told(key, texts(language)["tool_settings"])
    help_ = told.get("does", "").replace("%", "%%").replace("**", "")
    default = "" if setting.default in ("", None) else f" [{setting.default}]"
    more: dict[str, Any] = {"dest": key, "default": None, "help": f"{help_}{default}"}
    if setting.kind == "switch":
        parser.add_argument(*names, action=argparse.BooleanOptionalAction, **more)
    elif setting.spec.widget in ("shares", "lines"):
        parser.add_argument(*names, action="append", metavar="TEXT", **more)
    else:
        metavar = "|".join(map(str, setting.choices)) or setting.kind.upper()
        parser.add_argument(*names, metavar=metavar.replace("%", "%%"), **more)


def _absolute(tool: Tool, values: Mapping[str, Any]) -> dict[str, Any]:
    """Paths from where the command was given; several values of one setting as lines."""
    made = {
        key: "\n".join(map(str, value)) if isinstance(value, list) else value for key, value in values.items()
    }
    for key, value in made.items():
        widget = tool.schema[key].spec.widget
        if widget in NEW or (widget in READ and value and Path(value).exists()):
            made[key] = str(Path(value).absolute()) if value else value
    return made


def _refused(problems: Sequence[Problem], language: Language, *, as_json: bool) -> int:
    stops = [problem for problem in problems if problem.blocks]
    if as_json:
        found = [problem.as_json(language) for problem in stops]
        print(json.dumps({"state": "refused", "problems": found}, ensure_ascii=False, indent=1))
    else:
        _tell(stops, language)
    return USER


def _tell(problems: Sequence[Problem], language: Language) -> None:
    for problem in problems:
        said = str(problem.said(language)).replace("**", "")
        print(f"--{problem.setting}: " * bool(problem.setting) + printable(said), file=sys.stderr)


def job_as_json(folder: JobFolder, language: Language) -> dict[str, Any]:
    """How a tool's job ended, as plain data."""
    events = [event for _, _, event in read_events(folder.events_file)]
    told: dict[str, Any] = {
        "state": "done",
        "files": [event.path for event in events if isinstance(event, Saved)],
        "told": [_notice(event, language) for event in events if isinstance(event, Notice)],
        "job": str(folder.path),
    }
    for event in events[-1:]:
        if isinstance(event, Stopped):
            told["state"] = "stopped"
        if isinstance(event, Failed):
            said = say(Message(event.code, event.values), language)
            error = {"setting": event.setting, "what": said.what, "why": said.why, "fix": said.fix}
            told |= {"state": "failed", "error": {"code": event.code, **error}}
    return told


def _notice(event: Notice, language: Language) -> dict[str, Any]:
    text = str(say(Message(event.code, event.values), language))
    return {"level": event.level, "code": event.code, "text": text, "values": dict(event.values)}
