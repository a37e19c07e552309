"""The trainer's command line: `python -m trainer VERB …`.

Exit codes: 0 done, 2 something the person can mend, 3 stopped, 1 our bug.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from trainer import kohya
from trainer.distributed.processes import Rank
from trainer.errors import UserError
from trainer.files.job_folder import TRAIN, JobFolder, default_workspace
from trainer.files.reading import Encoding
from trainer.files.roots import Roots
from trainer.files.secrets import VARIABLES, secrets_file
from trainer.kohya import additional
from trainer.messages import Language, Message, printable, say
from trainer.plan.run import DatasetPlan, Plan
from trainer.preflight import check as preflight
from trainer.preflight.values import typed_form as typed_values
from trainer.problems import Problem, from_error, some_names
from trainer.schema import Schema
from trainer.settings import TRAINING, Settings

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
ConfigFile = Annotated[
    Path, typer.Argument(help="Settings: a preset of ours or of kohya_ss, or sd-scripts TOML.")
]
Sets = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change one setting.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def language() -> Language:
    """The person's language, by the environment."""
    code = next(
        (os.environ[name][:2] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "en"
    )
    return "ja" if code == "ja" else "en"


def read_settings(config: Path, changes: list[str]) -> Settings:
    """Settings of a file, with --set changes applied. Raises UserError for a value that cannot be.

    What the file asked for and does not get is said on stderr: standard output may be read by a program.
    """
    imported, changed = kohya.read(config), dict(parse_change(change) for change in changes)
    if Rank.own().reports:
        lost = (entry for entry in imported.report.entries if entry.attention or entry.kind == "unknown")
        entries = [entry for entry in lost if entry.setting not in changed]
        for line in kohya.attention_lines(entries, language()):
            print(printable(line), file=sys.stderr)
    return imported.settings.replace(**changed) if changed else imported.settings


def parse_change(change: str, schema: Schema[Any] = TRAINING) -> tuple[str, Any]:
    """ "network_dim=16" -> ("network_dim", 16). Raises UserError for no setting, or no value of it."""
    key, equals, text = change.partition("=")
    if key not in schema or not equals:
        raise UserError("training.unknown_setting", key=key or change)
    setting = schema[key]
    if setting.is_secret:  # other programs may read command lines
        raise UserError("training.secret_here", key, variable=VARIABLES[key][0], path=str(secrets_file()))
    if not text.strip() and not setting.optional and setting.kind != "text" and "" not in setting.choices:
        raise UserError("training.set_blank", key, key=key, label=setting.spec.label)
    settings, problems = typed_values({key: text}, schema)
    for problem in problems:
        raise UserError(problem.code, key, **problem.values)
    return key, settings.get(key)


@app.command()
def train(
    config: ConfigFile,
    changes: Sets = [],  # noqa: B006  # Typer copies it
    job: Annotated[Path | None, typer.Option(help="Folder for this job (new).")] = None,
) -> None:
    """Train a LoRA with the settings of a file."""
    settings = read_settings(config, changes)

    def prepared() -> str:
        if job is None:
            return str(JobFolder.create(default_workspace(), settings).path)
        JobFolder(job).begin(settings)
        return str(job)

    raise typer.Exit(_run(JobFolder(Path(_once(prepared)))))


def _once(prepared: Callable[[], str]) -> str:
    """Have one process make the job's folder where torchrun or accelerate has started several."""
    rank = Rank.own()
    if rank.count == 1:
        return prepared()
    from trainer.distributed.collectives import Exchange
    from trainer.training.precision import pick_device

    return Exchange.joined(rank, pick_device()).agree(prepared)


@app.command("job")
def job_(folder: Annotated[Path, typer.Argument(help="A job folder with settings.json.")]) -> None:
    """Train the job that the page has prepared."""
    raise typer.Exit(_run(JobFolder(folder)))


@app.command()
def resume(folder: Annotated[Path, typer.Argument(help="A job folder.")]) -> None:
    """Continue a job that was stopped, killed or lost: same files, same steps, as if never interrupted."""
    raise typer.Exit(_run(JobFolder(folder), resume=True))


@app.command(hidden=True)
def wait() -> None:
    """Import everything, then do the job that standard input names: the page has one ready before Train."""
    from trainer.jobs.waiting import wait_for_order

    if order := wait_for_order():
        raise typer.Exit(_run(order.folder, resume=order.resume))


def _run(folder: JobFolder, *, resume: bool = False, quiet: bool = False) -> int:
    """Do what a job's folder asks for; `quiet`: without a word on the terminal."""
    from trainer.files.redact import redact_streams
    from trainer.jobs.run import run_job
    from trainer.jobs.run_tool import run_tool

    redact_streams()

    def begun() -> None:
        _stop_on_signals(folder)

    if folder.told()["kind"] == TRAIN:
        return run_job(folder, resume=resume, own_process=True, begun=begun)
    return run_tool(folder, resume=resume, listen=(lambda _event: None) if quiet else None, begun=begun)


def _stop_on_signals(folder: JobFolder) -> None:
    """Ctrl-C (and the end of the session) is Stop; a second one ends the process.

    It is answered on stderr: standard output may be read by a program.
    """
    code = "training.stopping" if folder.told()["kind"] == TRAIN else "tools.stopping"

    def asked(_number: int, _frame: object) -> None:
        if folder.stop_requested():
            raise KeyboardInterrupt
        folder.request_stop()
        with suppress(OSError, RuntimeError):  # in the middle of another line
            print(say(Message(code), language()).what, file=sys.stderr, flush=True)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, asked)


@app.command()
def check(config: ConfigFile, changes: Sets = [], as_json: AsJson = False) -> None:  # noqa: B006  # Typer copies it
    """Say what would stop or spoil the run, and how long it will be. Loads no model."""
    settings = read_settings(config, changes)
    checked = preflight.check(settings, Roots.of_environment())
    plan = checked.plan
    if not checked.blocked and plan:
        checked = replace(checked, problems=(*_tried(settings, plan), *checked.problems))
    if as_json:
        problems = [problem.as_json(language()) for problem in checked.problems]
        found = {"blocked": checked.blocked, "problems": problems, "plan": plan.as_json() if plan else None}
        print(json.dumps(found, ensure_ascii=False, indent=1))
    else:
        for problem in checked.problems:
            told = "STOPS" if problem.blocks else "hint "
            print(told, f"[{problem.setting}]", printable(str(problem.said(language()))))
        lines = plan_lines(plan) if plan else ["No plan: the pictures cannot be read."]
        print(printable("\n".join(lines)))
    raise typer.Exit(2 if checked.blocked else 0)


def _tried(settings: Settings, plan: Plan) -> list[Problem]:
    """What the optimizer itself says of typed arguments: only for those torch is loaded."""
    optimizer = additional.applied(settings).optimizer
    if not (optimizer.optimizer_args or optimizer.lr_scheduler_args):
        return []
    from trainer.jobs.quiet import quiet_libraries

    quiet_libraries()
    from trainer.training.precision import pick_device
    from trainer.training.trial import try_out

    try:
        try_out(optimizer, plan.total_steps, pick_device())
    except UserError as error:
        return [from_error(error, {error.setting: ""})]
    return []


def plan_lines(plan: Plan) -> list[str]:
    """The plan for a terminal."""
    datasets = [line for number, one in enumerate(plan.datasets, 1) for line in _dataset_lines(number, one)]
    buckets = ", ".join(f"{bucket.width}x{bucket.height}: {bucket.images}" for bucket in plan.buckets)
    length = f"{plan.steps_per_epoch} steps per epoch, {plan.total_steps} steps in {plan.epochs} epochs"
    return [
        f"{plan.images} pictures, {plan.reg_images} regularisation pictures, {plan.captions_found} captions",
        *datasets,
        f"buckets {buckets}",
        f"{length} (decided by {plan.decided_by}), warm-up {plan.warmup_steps}",
        f"files {', '.join(some_names([save.name for save in plan.saves], 20))}",
        f"memory about {plan.memory_bytes / 1e9:.1f} GB, disk {plan.disk_bytes / 1e6:.0f} MB",
    ]


def _dataset_lines(number: int, plan: DatasetPlan) -> Iterator[str]:
    """A dataset of a dataset file, and its folders."""
    if not plan.name:
        return
    yield (
        f"dataset {number}: {plan.width}x{plan.height}, batch size {plan.batch_size},"
        f" {plan.pictures} pictures in {plan.batches} batches"
    )
    for subset in plan.subsets:
        folder = subset.folder
        effects = [key if value is True else f"{key}={value}" for key, value in subset.in_effect.items()]
        kind = "regularisation " if folder.is_reg else ""
        yield f"  {kind}{folder.name}: {folder.pictures} x {folder.repeats} {', '.join(effects)}".rstrip()


@app.command()
def inspect(lora: Annotated[Path, typer.Argument(help="A LoRA file.")], as_json: AsJson = False) -> None:
    """Say what a LoRA file contains: modules, ranks, alphas, metadata."""
    from trainer.lora.info import describe

    info = describe(lora)
    print(json.dumps(info.as_json(), ensure_ascii=False, indent=1) if as_json else printable(info.text()))


@app.command()
def extract(
    lora: Annotated[Path, typer.Argument(help="A DyLoRA file.")],
    rank: Annotated[int, typer.Option(help="Rank of the smaller LoRA.")],
    output: Annotated[Path | None, typer.Option(help="Its file; beside the DyLoRA if not given.")] = None,
) -> None:
    """Take a LoRA of a smaller rank out of a DyLoRA, and print where it is."""
    from trainer.tools.extract import extract as write

    print(write(lora, rank, output))


@app.command(
    "tool",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def tool_(
    words: Annotated[list[str] | None, typer.Argument(metavar="NAME …", help="A tool, its settings.")] = None,
) -> None:
    """Use a tool on pictures or LoRA files: prepare, merge, resize, verify …; without a name: list them."""
    from trainer.jobs.tool_command import command

    raise typer.Exit(command(words or [], language(), _run))


@app.command("try")
def try_(
    folder: Annotated[Path, typer.Argument(help="A job folder.")],
    idle: Annotated[float, typer.Option(help="Seconds without a request after which it ends.")] = 300,
) -> None:
    """Draw pictures with a job's LoRA: JSON requests come in, JSON answers go out, one per line."""
    from trainer.jobs.try_out import main as serve

    serve(JobFolder(folder), idle)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Settings of another tool.")],
    as_json: AsJson = False,
    encoding: Annotated[Encoding | None, typer.Option(help="How to read files that are not UTF-8.")] = None,
) -> None:
    """Say, key by key, how the settings of another tool are read."""
    imported = kohya.read(file, encoding=encoding or "")
    if as_json:
        print(json.dumps(imported.as_json(), ensure_ascii=False, indent=1))
    else:
        for line in kohya.report_lines(imported.report, language()):
            print(printable(line))


def main() -> None:
    """Run the command line; a UserError, or what a disk refuses, becomes a sentence and exit code 2."""
    _share_the_processor()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # pyright: ignore[reportAttributeAccessIssue]  # checked above
    try:
        app()
    except UserError as error:
        print(printable(str(error)), file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        from trainer.jobs.run import cannot_begin

        raise SystemExit(cannot_begin(error)) from None


def _share_the_processor() -> None:
    """Before any verb loads torch: its threads sleep while they wait for each other.

    Where others compute too, threads that spin take the processor from the one they wait for: small models
    were seen to need six to twenty times the processor time.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


if __name__ == "__main__":
    main()
