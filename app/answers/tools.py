"""Questions of the Tools tab: the tools and their forms, a look at one, its start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.answers.question import Answer, Request, question, sent
from app.form import help_texts
from app.form import values as form
from app.form.marks import idle, problem_json
from app.jobs.store import Job, JobStore
from app.jobs.tool_outcome import tool_outcome
from app.paths import Roots
from app.texts import language_of
from trainer.errors import UserError
from trainer.messages import Language, say, texts
from trainer.schema import Form
from trainer.tools import checks
from trainer.tools.proposals import Proposal, read_proposals, write_proposals
from trainer.tools.table import TOOLS
from trainer.tools.tool import Tool

MOST_LINES = 500
"""Of a preview; the rest is counted."""


class ToolAnswers:
    """Questions about the tools of one workspace. `roots`: the folders that they may use."""

    def __init__(self, store: JobStore, roots: Roots | None = None) -> None:
        self.store = store
        self.roots = roots

    @question
    def tools(self, request: Request) -> Answer:
        """Every tool with its words and its form."""
        language = language_of(request.get("lang"))
        return {"tools": [_card(tool, language) for tool in TOOLS.values()]}

    @question
    def tool_look(self, request: Request) -> Answer:
        """Marks and problems of a tool's form: {"tool", "values"}."""
        tool, values = _tool(request), sent(request, "values")
        return self._look(tool, values, language_of(request.get("lang")))[1]

    @question
    def tool_start(self, request: Request) -> Answer:
        """Put a tool's job in line; a form that cannot run comes back with its look."""
        tool, values = _tool(request), sent(request, "values")
        settings, seen = self._look(tool, values, language_of(request.get("lang")))
        if settings is None:
            return {"look": seen}
        job = self.store.start(settings, tool.name, checks.job_name(tool, settings))
        busy = self.store.running()
        beside = busy.name if tool.light and busy else ""
        return {"job": {"id": job.id, "state": job.state, "beside": beside}}

    @question
    def tool_job(self, request: Request) -> Answer:
        """How far a tool's job is that runs beside another one, or how it ended: {"job"}."""
        job = self.store.get(str(request.get("job")))
        if job is None or job.tool is None:
            raise UserError("page.no_job")
        state, record, language = job.state, job.record(), language_of(request.get("lang"))
        phase = record.phase
        return {
            "state": state,
            "done": phase.done if phase else 0,
            "of": phase.total if phase else 0,
            "outcome": tool_outcome(job, record, state, language),
        }

    @question
    def tool_preview(self, request: Request) -> Answer:
        """What a tool would do, line by line."""
        tool, values, language = _tool(request), sent(request, "values"), language_of(request.get("lang"))
        settings, seen = self._look(tool, values, language)
        if settings is None or tool.preview is None:
            return {"look": seen}
        lines = [say(message, language).what for message in tool.preview(settings)]
        return {"lines": lines[:MOST_LINES], "more": max(0, len(lines) - MOST_LINES)}

    @question
    def tool_proposals(self, request: Request) -> Answer:
        """Captions that a job proposes: {"job"} -> [{"path", "caption", "before"}]."""
        job, _ = self._job(request)
        found = [one for one in read_proposals(job.folder.path) if self._within(one)]
        rows = [{"path": one.path, "caption": one.after, "before": one.before} for one in found]
        return {"proposals": rows}

    @question
    def tool_write(self, request: Request) -> Answer:
        """Write the captions that a job proposes: {"job"}. Nothing is written where one file has changed."""
        job, tool = self._job(request)
        settings = job.folder.form(tool.schema)
        found = [one for one in read_proposals(job.folder.path) if self._within(one)]
        return {"count": write_proposals(found, str(settings.get("extension")))}

    def _job(self, request: Request) -> tuple[Job, Tool]:
        """A job that proposes captions."""
        job = self.store.get(str(request.get("job")))
        if job is None or job.tool is None or not job.tool.proposes:
            raise UserError("page.no_job")
        return job, job.tool

    def _within(self, proposal: Proposal) -> bool:
        return self.store.may_use(Path(proposal.path))

    def _look(self, tool: Tool, values: Mapping[str, Any], language: Language) -> tuple[Form | None, Answer]:
        settings, problems = checks.check_values(tool, values, self.roots)
        return settings, {
            "problems": [problem_json(problem, values, language, tool.schema) for problem in problems],
            "idle": idle(values, language, tool.schema),
        }


def _tool(request: Request) -> Tool:
    name = str(request.get("tool"))
    if name not in TOOLS:
        raise UserError("tools.unknown", name=name[:60])
    return TOOLS[name]


def _card(tool: Tool, language: Language) -> dict[str, Any]:
    told, groups = texts(language)["tools"][tool.name], texts(language)["tool_groups"]
    used = dict.fromkeys(setting.spec.group for setting in tool.schema.values())
    return {
        "name": tool.name,
        **told,
        "group": tool.group,
        "groups": [{"name": group, "title": groups[group]} for group in used],
        "fields": help_texts.fields(language, tool.schema),
        "defaults": form.shown_values({}, tool.schema),
        "preview": tool.preview is not None,
        "light": tool.light,
    }
