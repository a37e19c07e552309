"""Questions about the form: marks, plan, pictures, presets, files of settings, and starting a run."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app import paths
from app.answers.question import Answer, Request, error_in_words, question, sent
from app.form import dataset as data_plan
from app.form import help_texts, imports, own_pictures, preset_files, presets
from app.form import values as form
from app.form.drafts import Drafts, OpenPage, draft_version
from app.form.look import look as look_at
from app.form.look import not_shown
from app.jobs import pace
from app.jobs.store import JobStore
from app.texts import language_of
from trainer import kohya
from trainer.errors import UserError
from trainer.files.paths import clean_path
from trainer.files.secrets import SECRET_SETTINGS as SECRETS
from trainer.files.secrets import read_secret, variable_of, write_secret
from trainer.messages import LANGUAGES, say
from trainer.plan.run import Plan
from trainer.preflight import places
from trainer.preflight.check import check_values
from trainer.settings import TRAINING, Settings


class FormAnswers:
    """Questions about the form, answered for one workspace."""

    def __init__(self, store: JobStore, roots: paths.Roots | None = None) -> None:
        self.store = store
        self.roots = roots or paths.default_roots(store.workspace)
        self.configs = Path(store.workspace) / "configs"
        self.drafts = Drafts(Path(store.workspace) / "drafts")

    @question
    def start(self, request: Request) -> Answer:
        """Everything that does not change while the page is open, and the draft."""
        language = language_of(request.get("lang"))
        draft = self.drafts.read(request.get("browser"))
        return {
            "keys": list(TRAINING),
            "fields": help_texts.fields(language),
            "defaults": form.shown_values({}),
            "values": {**form.shown_values({}), **(draft.get("values") or {})},
            "version": draft_version(draft),
            "path": draft.get("path") or "",
            "offered": draft.get("offered") or "",
            "mark": draft.get("mark") or "",
            "carried": draft.get("carried") or {},
            "report": draft.get("report"),
            "fresh": not form.changed(draft.get("values") or {}) and not self.store.jobs(),
            "presets": presets.cards(language),
            "secrets": {key: _where_kept(key) for key in SECRETS},
        }

    @question
    def look(self, request: Request) -> Answer:
        """Marks, problems and plan of the form's content, then merges it into the browser's draft.

        In this order, so that no content that ends the server is what the next page begins with. `tab`,
        `number`, `since`, `changes`: whose form it is, see app.form.drafts; a look that a later one of the
        same tab has overtaken is not made.
        """
        browser, tab, changes = request.get("browser"), _tab(request), _changes(request)
        if self.drafts.overtaken(browser, tab):
            return {"overtaken": True}
        values = _values(request)
        names = {part: str(request.get(part) or "")[:4096] for part in ("path", "offered", "mark")}
        report = {"report": request["report"]} if "report" in request else {}
        together = self.drafts.merged(browser, values, changes, tab)
        try:
            look = self._look(together.values, request)
        finally:
            kept = self.drafts.write(
                browser, values, changes, tab, carried=_carried(request), **names, **report
            )
        if look["bar"]["state"] == "ready":
            self.store.expect_run()
        return {**look, "draft": dataclasses.asdict(dataclasses.replace(kept, values={}))}

    def _look(self, values: Mapping[str, Any], request: Request) -> Answer:
        """The form's content looked at, with the time that past runs tell."""

        def seconds(settings: Settings, plan: Plan) -> float | None:
            return pace.estimate(self.store, settings, plan)

        return look_at(values, language_of(request.get("lang")), seconds, self.roots)

    @question
    def pictures(self, request: Request) -> Answer:
        """The dataset plan with thumbnails; as it will be with the fixes, where there is none without."""
        values = _values(request)
        _, checked = check_values(values, self.roots)
        if checked.outside:
            return {"dataset": None}
        if not_shown(values, self.roots):
            return {"dataset": None}
        if checked.assumed:
            blocking = [problem.fix or {} for problem in checked.problems if problem.blocks]
            values = {**values, **{key: value for fix in blocking for key, value in fix.items()}}
            preset_files.pictures_within(values, self.roots)
        plan = data_plan.dataset(values, language_of(request.get("lang")), self.roots)
        return {"dataset": plan and {**plan, "assumed": bool(checked.assumed)}}

    @question
    def list_pictures(self, request: Request) -> Answer:
        """Learn the pictures of `folder` as they lie: the settings that change."""
        folder = Path(clean_path(str(request.get("folder") or "")))
        places.require_within(Settings.from_flat({"train_data_dir": str(folder)}), self.roots)
        path = own_pictures.listed(folder, self.configs)
        return {"changes": {"dataset_config": str(path)}}

    @question
    def load(self, request: Request) -> Answer:
        """Settings from a file (`path`), from what the browser sends (`text` or `pieces`), or a `job`."""
        if "job" in request:
            job = self.store.get(str(request["job"]))
            if job is None:
                raise UserError("page.no_job")
            if job.tool:
                return {"tool": job.kind, "values": form.shown_values(job.settings(), job.tool.schema)}
            values = form.shown_values(job.settings())
            return {"values": values, "path": "", "name": job.name, "carried": {}, "report": None}
        may_read = preset_files.settings_file_may_read(self.roots)
        if {"text", "bytes", "pieces"} & set(request):
            path, given = "", imports.read_given(request, may_read)
            imported = imports.with_dataset_file(given, self.configs, str(request.get("name") or ""))
        else:
            path = str(preset_files.to_open(request.get("path"), self.configs, self.roots))
            file = preset_files.to_read(Path(path), self.roots)
            read = kohya.read(file, may_read, str(request.get("encoding") or ""))
            imported = imports.with_dataset_file(read, self.configs, Path(path).name)
        return {
            "values": form.shown_values(imported.settings.flat()),
            "path": path,
            "name": Path(path).name or str(request.get("name") or ""),
            "carried": without_unjson(imported.carried),
            "report": {language: imports.report_json(imported.report, language) for language in LANGUAGES},
        }

    @question
    def save(self, request: Request) -> Answer:
        """Write the form as kohya_ss's JSON; asks back ({"exists"}) before another file is replaced."""
        path = self._config(request.get("path"))
        known = path.suffix.lower() in preset_files.READABLE  # momo_ver1.0 has no ending, momo.toml has
        path = path.with_suffix(".json") if known else path.with_name(path.name + ".json")
        place = preset_files.to_write(path, self.roots)
        if place.is_relative_to(self.store.root.resolve()):  # a run's folder is the record of that run
            raise UserError("page.no_preset_there", name=path.name[:120])
        if place.exists() and not request.get("replace"):
            return {"exists": str(path)}
        settings, _ = check_values(_values(request), self.roots)
        if settings is None:
            raise UserError("page.save_illegal")
        text = json.dumps(kohya.to_kohya(settings, _carried(request)), indent=2, ensure_ascii=False)
        preset_files.save(path, f"{text}\n", self.roots)
        return {"path": str(path)}

    def _config(self, name: Any) -> Path:
        """A configuration file by what was typed: bare names lie in <workspace>/configs."""
        return preset_files.typed_place(name, self.configs)

    @question
    def preset(self, request: Request) -> Answer:
        """What a preset would change, and the content of the form with it."""
        values = _values(request)
        new = presets.with_preset(presets.read(str(request.get("name"))).settings.flat(), values)
        return {
            "values": new,
            "difference": presets.preset_changes(values, new, language_of(request.get("lang"))),
        }

    @question
    def own_presets(self, _request: Request) -> Answer:
        """The files that were saved from this page under a bare name, the newest first."""
        return {"own": preset_files.own(self.configs, self.roots)}

    @question
    def command(self, request: Request) -> Answer:
        """The run as our command, and as sd-scripts'."""
        language = language_of(request.get("lang"))
        settings, _ = check_values(_values(request), self.roots)
        if settings is None:
            raise UserError("page.save_illegal")
        words, toml = kohya.sd_scripts_command(settings, _carried(request))
        path = str(request.get("path") or "") or "config.json"
        return {
            "ours": command_line(kohya.our_command(path)),
            "theirs": command_line(words),
            "toml": toml,
            "cannot": [say(message, language).what for message in kohya.sd_scripts_cannot(settings)],
        }

    @question
    def secret(self, request: Request) -> Answer:
        """Keep a key or token ({"key", "value"}; blank: forget it). It is never sent back."""
        key, value = str(request.get("key")), str(request.get("value") or "")
        try:
            write_secret(key, value)
        except ValueError as error:
            raise UserError("page.no_secret") from error
        return {"kept": _where_kept(key)}

    @question
    def find(self, request: Request) -> Answer:
        """Settings and tools that match a search; a tool whose title does stands first."""
        query, language = str(request.get("query") or ""), language_of(request.get("lang"))
        found, tools = help_texts.find(query, language), help_texts.find_tools(query, language)
        named = [hit for hit in tools if help_texts.folded(query).strip() in help_texts.folded(hit["label"])]
        return {"found": [*named, *found, *(hit for hit in tools if hit not in named)]}

    @question
    def train(self, request: Request) -> Answer:
        """Start the run, unless something stands in its way: then the look at the form comes back.

        {"same": a sentence} where such a run is at work or waits already and "again" is not said.
        """
        values = _values(request)
        for key, value in _typed_secrets(request).items():
            self.secret({**request, "key": key, "value": value})
        settings, checked = check_values(values, self.roots)
        if settings is None or checked.blocked:
            return {"look": self._look(values, request)}
        try:
            job = self.store.start(settings, twice=bool(request.get("again")))
        except UserError as error:
            if not error.message.code.startswith("page.same_"):
                raise
            return {"same": error_in_words(error, language_of(request.get("lang")))["what"]}
        return {"job": {"id": job.id, "state": job.state}}

    @question
    def complete(self, request: Request) -> Answer:
        """Files and folders that begin with what is typed."""
        wish = {"prefix": request.get("prefix"), "kind": request.get("kind")}
        found = paths.complete(wish, self.roots)
        return {"paths": [entry["path"] for entry in found]}


def _values(request: Request) -> dict[str, Any]:
    """The form's content, known settings only, without secrets."""
    values = sent(request, "values")
    return {key: value for key, value in values.items() if key in TRAINING and key not in SECRETS}


def _tab(request: Request) -> OpenPage:
    """Which page asks, what it knows of the draft, and its how many-th look this is."""
    since, number = (
        value if isinstance(value := request.get(key), int) else 0 for key in ("since", "number")
    )
    return OpenPage(str(request.get("tab") or "")[:40], since, number)


def _changes(request: Request) -> set[str]:
    """The settings that a tab has changed since; all, where it does not say."""
    changes = request.get("changes")
    return set(map(str, changes)) if isinstance(changes, list) else {*TRAINING, "file"}


def _where_kept(secret: str) -> str:
    """Where a key or token comes from: the name of an environment variable, "file", or "" for nowhere."""
    return variable_of(secret) or ("file" if read_secret(secret) else "")


def _typed_secrets(request: Request) -> dict[str, str]:
    """Keys and tokens that stand in the form."""
    values = sent(request, "values")
    return {key: text for key in SECRETS if isinstance(text := values.get(key), str) and text.strip()}


def _carried(request: Request) -> dict[str, Any]:
    """What came with a loaded file, is not used here and goes back into the file when it is saved."""
    return sent(request, "carried")


def command_line(words: list[str]) -> str:
    """Words as one line, quoted for the shell of this machine."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def without_unjson(carried: Mapping[str, Any]) -> dict[str, Any]:
    """What can be kept in a draft."""
    return json.loads(json.dumps(dict(carried), default=str))
