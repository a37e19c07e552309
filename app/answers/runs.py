"""Questions about runs: the live view, past runs, their LoRA files, "Try it"."""

from __future__ import annotations

from pathlib import Path

from app.answers.question import Answer, Request, question
from app.jobs import compare, extend, live, lora_card, open_folder, removal, smaller
from app.jobs.files import result_file
from app.jobs.glance import glance
from app.jobs.outcome import chosen_remedy
from app.jobs.store import Job, JobStore
from app.jobs.try_it import TryIt
from app.texts import language_of
from trainer.errors import UserError
from trainer.files.job_folder import WISHES
from trainer.plan import sample_text

SECOND_PRESS = 1.0
"""Seconds after Stop from which another press means it: a double click is one press."""


BUTTONS = ("continue", "extend", "move", "take_out", "pause", "stop_beside", *WISHES)
"""What can be done with a job, each by its button."""


class RunAnswers:
    """Questions about the runs of one workspace."""

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self.easel = TryIt(store)

    @question
    def live(self, request: Request) -> Answer:
        """What is new about the job to look at, since the request's cursor."""
        return live.answer(self.store, request)

    @question
    def act(self, request: Request) -> Answer:
        """A button: {"do": one of BUTTONS, "job", "by", "remedy", "more"}, or {"do": "go_on"}."""
        wish = request.get("do")
        if wish == "go_on":
            self.store.go_on()
            return {"done": True}
        job = self._job(request)
        if wish not in BUTTONS:
            return {"done": False}
        if wish == "continue":
            self.store.resume(job, chosen_remedy(job, request.get("remedy")))
        elif wish == "move":
            self.store.move(job.id, 1 if request.get("by") == 1 else -1)
        elif (wish == "take_out" and job.state == "queued") or (wish == "stop_beside" and job.light):
            job.stop()
        elif wish == "extend":
            extend.extend(job, request.get("more"))
        elif wish in WISHES:
            job.wish(wish)
        elif wish == "pause" and job.state == "running" and not job.stopping:
            self.store.wait()
            job.stop(pause=True)
        else:
            return {"done": False}
        return {"done": True}

    @question
    def stop(self, _request: Request) -> Answer:
        """Ask the running job to save and end; asked again, its process is ended. Jobs in line wait then."""
        job = self.store.current()
        if job and job.state == "running":
            self.store.wait()
        if job and job.stopping and job.folder.stopping_for() >= SECOND_PRESS:
            job.kill()
        elif job and job.state in ("running", "queued"):
            job.stop()
        return {"done": True}

    @question
    def jobs(self, request: Request) -> Answer:
        """All runs, newest first, a line each."""
        language = language_of(request.get("lang"))
        return {"jobs": [glance(job, language) for job in self.store.jobs()]}

    @question
    def show(self, request: Request) -> Answer:
        """One run, or several side by side: {"chosen": ids, "against": a preset or "", "all": bool}."""
        chosen = request.get("chosen")
        ids = [str(job_id) for job_id in chosen] if isinstance(chosen, list) else []
        against, language = str(request.get("against") or ""), language_of(request.get("lang"))
        return compare.show_jobs(self.store, ids, against, language, everything=bool(request.get("all")))

    @question
    def remove(self, request: Request) -> Answer:
        """Ask, and when asked again with {"sure": the job's id} remove a past run."""
        job = self._job(request)
        removal.check(job)
        if request.get("sure") != job.id:
            return {"ask": removal.removal_question(job, language_of(request.get("lang")))}
        self.store.remove(job)
        return {"done": True}

    @question
    def open_folder(self, request: Request) -> Answer:
        """Show a LoRA file of a job in the file manager of this machine: {"job", "file"}."""
        open_folder.show(self._file(request, "page.no_file"), self.store.roots)
        return {"done": True}

    @question
    def run_of_sample(self, request: Request) -> Answer:
        """How a picture was drawn, and the run that drew it, by the text in its PNG.

        {"text"} -> {"made": the text where it tells that, "job": "" or the run's, "name", "step"}; a trial
        has no step.
        """
        text = str(request.get("text") or "")
        told = sample_text.text_entries(text)
        job = self.store.get(told.get(sample_text.RUN, "")) if told else None
        if job is None:
            return {"job": "", "made": text if told else ""}
        return {"job": job.id, "name": job.name, "step": told.get(sample_text.STEP, ""), "made": text}

    @question
    def explain(self, request: Request) -> Answer:
        """Everything about a LoRA file of a job: {"job", "file": its name}."""
        return lora_card.card(self._file(request, "page.no_file"), language_of(request.get("lang")))

    @question
    def make_smaller(self, request: Request) -> Answer:
        """Write a smaller file out of a DyLoRA: {"job", "file", "rank"} -> {"name", "size", "url"}."""
        path, rank = self._file(request, "page.no_file"), request.get("rank")
        if not isinstance(rank, int):
            raise UserError("page.no_file")
        try:
            return smaller.make_smaller(self._job(request), path, rank)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError("page.file_not_written", reason=reason) from error

    @question
    def try_ask(self, request: Request) -> Answer:
        """Draw with a LoRA file: {"job", "file", "prompt", …} -> {"id"}."""
        path = self._file(request, "page.no_lora")
        return {"id": self.easel.ask(self._job(request), path, request)}

    @question
    def try_warm(self, request: Request) -> Answer:
        """Someone is about to draw with a LoRA file: {"job", "file"}."""
        self.easel.warm(self._job(request), self._file(request, "page.no_lora"))
        return {}

    @question
    def try_look(self, request: Request) -> Answer:
        """How far the wish {"id"} is."""
        return self.easel.look(request.get("id"), language_of(request.get("lang")))

    @question
    def try_cancel(self, request: Request) -> Answer:
        """Stop drawing the wish {"id"}."""
        self.easel.cancel(request.get("id"))
        return {}

    def _job(self, request: Request) -> Job:
        if job := self.store.get(str(request.get("job"))):
            return job
        raise UserError("page.no_job")

    def _file(self, request: Request, gone: str) -> Path:
        """A LoRA file by job and name. Raises UserError `gone` for anything else."""
        job = self.store.get(str(request.get("job")))
        path = result_file(job, job.record(), str(request.get("file"))) if job else None
        if path is None:
            raise UserError(gone)
        return path
