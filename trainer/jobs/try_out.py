"""Pictures on trial: `python -m trainer try JOB` draws with a job's LoRA beside the base model alone.

The process loads the job's base model once and then answers requests, one JSON object per line on its
input, until its input ends or nothing was asked for some minutes. What it says is one JSON object per
line on its output: loading, ready, drawing (done, of), drawn (name), done, cancelled, failed (code,
values). A new request puts an end to the one at work.
"""

from __future__ import annotations

import hashlib
import json
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, get_args

from trainer.errors import UserError, is_out_of_memory
from trainer.families.family import Family
from trainer.families.table import named_by
from trainer.files.job_folder import JobFolder
from trainer.files.roots import Roots
from trainer.files.whole_file import write_whole
from trainer.kohya import additional
from trainer.plan import sample_text
from trainer.plan.sample_prompts import LARGEST, MOST_DENOISING_STEPS, SMALLEST, SamplePrompt
from trainer.preflight import places
from trainer.settings import SamplerName, Settings

if TYPE_CHECKING:
    from trainer.models.base import BaseModel
    from trainer.network.network import LoraNetwork

Tell = Callable[[Mapping[str, Any]], None]
STRONGEST = 2.0
LONGEST_PROMPT = 4000
"""Characters of a prompt."""
TRIALS_KEPT = 200
"""Pictures on trial that stay in a job's folder."""
TRY_FOLDER = "try"
"""Below the job's samples."""


@dataclass(frozen=True)
class DrawRequest:
    """One wish: a picture without the LoRA and one with it, from the same seed."""

    id: int
    file: str
    """The LoRA file."""
    strength: float
    seed: int
    prompt: SamplePrompt

    @classmethod
    def from_json(cls, data: Mapping[str, Any], family: Family) -> DrawRequest:
        """Read and check. Raises UserError for what a model of this family cannot draw."""
        side, step = family.sample_side, family.latents.factor
        try:
            prompt = SamplePrompt(
                prompt=str(data.get("prompt", ""))[:LONGEST_PROMPT],
                negative=str(data.get("negative", ""))[:LONGEST_PROMPT],
                width=int(data.get("width", side)) // step * step,
                height=int(data.get("height", side)) // step * step,
                scale=float(data.get("scale", 7.5)),
                steps=int(data.get("steps", 20)),
                sampler=str(data.get("sampler", "")),
            )
            wish = cls(int(data["id"]), str(data["file"]), float(data["strength"]), int(data["seed"]), prompt)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError("try.not_understood") from error
        wish._check()
        return wish

    def _check(self) -> None:
        prompt = self.prompt
        sides_fit = all(SMALLEST <= side <= LARGEST for side in (prompt.width, prompt.height))
        if not sides_fit:
            raise UserError("try.size", smallest=SMALLEST, largest=LARGEST)
        if not 0 <= self.strength <= STRONGEST:
            raise UserError("try.strength", largest=STRONGEST)
        rest_fits = (
            1 <= prompt.steps <= MOST_DENOISING_STEPS and 0 <= self.seed < 2**63 and 0 <= prompt.scale <= 100
        )
        if not rest_fits or prompt.sampler not in ("", *get_args(SamplerName)):
            raise UserError("try.not_understood")

    def name(self, strength: float) -> str:
        """File name of the picture: the same wish has the same name, and is drawn once."""
        about: dict[str, Any] = {**asdict(self.prompt), "seed": self.seed, "strength": strength}
        if strength:
            stat = Path(self.file).stat()
            about |= {"file": self.file, "size": stat.st_size, "time": stat.st_mtime_ns}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24] + ".png"


class Inbox:
    """Requests as they come; knows whether the one at work is still wanted."""

    def __init__(self, lines: TextIO) -> None:
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, args=(lines,), name="inbox", daemon=True).start()

    def _read(self, lines: TextIO) -> None:
        for line in lines:
            try:
                data = json.loads(line)
            except ValueError:
                continue
            if isinstance(data, dict):
                self._waiting.put(data)
        self._waiting.put(None)

    def outdated(self) -> bool:
        """Whether something newer was asked, or the page's server has gone."""
        return not self._waiting.empty()

    def newest(self, patience: float) -> dict[str, Any] | None:
        """The newest request; None at the end of all requests, or after `patience` seconds without one."""
        try:
            data = self._waiting.get(timeout=patience)
            while data is not None and not self._waiting.empty():
                data = self._waiting.get()
        except queue.Empty:
            return None
        return data


@dataclass
class Easel:
    """The job's model with its LoRA, ready to draw."""

    model: BaseModel
    network: LoraNetwork
    sampler: str
    inference: Callable[[], AbstractContextManager[Any]]
    file: str
    """The LoRA file that is loaded."""
    about: Mapping[str, object]
    """What the pictures' text tells of model and run."""

    @classmethod
    def build(cls, folder: JobFolder, file: str) -> Easel:
        """Load the base model of a job and put the LoRA in. Raises UserError."""
        from trainer.network.network import build_network
        from trainer.training.encode import open_base_model
        from trainer.training.prepare import pick_computing

        settings = _settings(folder)
        computing = pick_computing(settings.machine, _say_nothing)
        model = open_base_model(settings, computing, _say_nothing)
        trial = settings.replace(
            network_weights=file, dim_from_weights=True, network_dropout=0, rank_dropout=0, module_dropout=0
        )
        network = build_network(model, trial.network)
        network.eval()
        _ = model.text_encoders, model.denoiser, model.vae  # read now, so that no wish waits for it
        base = Path(settings.model.pretrained_model_name_or_path).stem
        about = {"Model": base, sample_text.RUN: folder.path.name}
        return cls(model, network, settings.sampling.sample_sampler, computing.autocast, file, about)

    def load(self, file: str) -> None:
        """Take another LoRA file of the same shape. Raises UserError."""
        from trainer.network.lora_file import load_lora

        if file != self.file:
            self.network.load(load_lora(Path(file))[0], name=Path(file).name)
            self.file = file

    @contextmanager
    def at(self, strength: float) -> Iterator[None]:
        """Inside, the LoRA counts with this strength; 0 is the base model itself."""
        if strength == 0:
            with self.network.disabled():
                yield
            return
        self.network.set_strength(strength)
        try:
            yield
        finally:
            self.network.set_strength(1.0)

    def draw(self, prompt: SamplePrompt, seed: int, strength: float, each: Callable[[], bool]) -> bytes:
        """A picture as PNG. `each` is called at every denoising step; when it is true: InterruptedError."""
        from trainer.training.sampling import as_png, draw

        sampler = prompt.sampler or self.sampler
        with self.at(strength), self.inference():
            image = draw(
                self.model,
                prompt,
                lambda text: self.model.encode_text([text]),
                sampler=sampler,
                seed=seed,
                interrupted=each,
            )
        lora = f"<lora:{Path(self.file).stem}:{strength:g}>" if strength else ""
        shown = replace(prompt, prompt=f"{prompt.prompt} {lora}".strip())
        return as_png(image, sample_text.picture_text(shown, seed, sampler, self.about))


def _say_nothing(_event: Any) -> None:
    """What a run tells while it is built is told by the run itself."""


def serve(folder: JobFolder, lines: TextIO, say: Tell, *, idle: float) -> None:
    """Answer requests until they end, or none has come for `idle` seconds.

    Loading takes far longer than drawing: {"warm": true, "file"} asks for no picture, only to be ready.
    """
    inbox, easel = Inbox(lines), None
    while (data := inbox.newest(idle)) is not None:
        if data.get("cancel"):
            continue
        if data.get("warm"):  # what goes wrong then is told with the first wish
            with suppress(Exception):
                easel = easel or Easel.build(folder, str(data.get("file")))
            continue
        number = data.get("id")
        try:
            wish = DrawRequest.from_json(data, named_by(folder.settings().model))
            if easel is None:
                say({"event": "loading", "id": wish.id})
                easel = Easel.build(folder, wish.file)
                say({"event": "ready", "id": wish.id})
            _answer(folder, easel, wish, inbox.outdated, say)
        except InterruptedError:
            say({"event": "cancelled", "id": number})
        except Exception as error:  # noqa: BLE001  # the page must learn of every end
            say({"event": "failed", "id": number, **_explain(error)})


def _settings(folder: JobFolder) -> Settings:
    """The job's settings as they count. Raises UserError, also where they lead out of the folders."""
    settings, roots = folder.settings(), Roots.of_environment()
    places.require_within(settings, roots)
    return additional.applied(settings, places.may_read(roots))


def _answer(
    folder: JobFolder, easel: Easel, wish: DrawRequest, outdated: Callable[[], bool], say: Tell
) -> None:
    """Draw both pictures, those that are not there yet."""
    began = time.monotonic()
    easel.load(wish.file)
    place = folder.samples / TRY_FOLDER
    place.mkdir(parents=True, exist_ok=True)
    tasks = [("lora", wish.strength), ("base", 0.0)]  # first the picture that is waited for
    todo = [(which, part) for which, part in tasks if not (place / wish.name(part)).exists()]
    of, done = wish.prompt.steps * len(todo), 0
    for which, strength in tasks:
        name = wish.name(strength)
        if (which, strength) in todo:

            def each(start: int = done) -> bool:
                nonlocal done
                done = min(done + 1, start + wish.prompt.steps)
                say({"event": "drawing", "id": wish.id, "done": done, "of": of})
                return outdated()

            say({"event": "drawing", "id": wish.id, "done": done, "of": of})
            write_whole(place / name, easel.draw(wish.prompt, wish.seed, strength, each))
            _keep_newest(place)
        say({"event": "drawn", "id": wish.id, "which": which, "name": name})
    say({"event": "done", "id": wish.id, "seconds": round(time.monotonic() - began, 2)})


def _keep_newest(place: Path) -> None:
    """Old trials go, so that the folder does not grow for ever."""
    for path in sorted(place.glob("*.png"), key=lambda path: path.stat().st_mtime)[:-TRIALS_KEPT]:
        path.unlink(missing_ok=True)


def _explain(error: Exception) -> dict[str, Any]:
    text = f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        return {"code": "try.out_of_memory", "values": {}}
    if isinstance(error, UserError):
        return {"code": error.message.code, "values": dict(error.message.values)}
    return {"code": "try.bug", "values": {"error": re.sub(r"\s+", " ", text)[:400]}}


def main(folder: JobFolder, idle: float) -> NoReturn:
    """The verb `try`: requests on the standard input, answers on the standard output."""
    import os
    import sys

    from trainer.jobs.libraries import import_libraries
    from trainer.jobs.quiet import quiet_libraries

    sys.stdin.reconfigure(encoding="utf-8")  # pyright: ignore[reportAttributeAccessIssue]  # a real stream here
    # Libraries may print: only our own lines go to the real output.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    quiet_libraries()
    import_libraries()

    def say(event: Mapping[str, Any]) -> None:
        answers.write(json.dumps(event, ensure_ascii=False) + "\n")

    try:
        serve(folder, sys.stdin, say, idle=idle)
        answers.flush()
    except BrokenPipeError:  # the page's server has gone
        pass
    os._exit(0)  # a thread may still wait for input: Python's own way out would complain about it
