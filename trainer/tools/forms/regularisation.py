"""The tool "Regularisation pictures"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from trainer.errors import UserError
from trainer.families.family import Family
from trainer.families.known import hub_folder, is_hub_id, known_facts
from trainer.families.table import FAMILIES
from trainer.families.verdict import likely_velocity
from trainer.plan.sample_prompts import LARGEST, SMALLEST, SamplePrompt, asking_lines, mended, read_option
from trainer.problems import Problem, block, hint
from trainer.schema import Form, Schema, Section, Spec
from trainer.settings import Model, SamplerName, Settings
from trainer.tools.model_files import DRAWABLE, family_of_model
from trainer.tools.places import cannot_write
from trainer.tools.prepare import training_folder_name
from trainer.tools.regularisation import ToDraw, draw_all, missing_numbers
from trainer.tools.tool import Tool, Work

PICKS = (
    "stable-diffusion-v1-5/stable-diffusion-v1-5", "stabilityai/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-xl-base-1.0",
)  # fmt: skip
PLACEHOLDER = "[class]"
"""In a prompt: the class word."""

# One row per setting reads better here than one argument per line.
# fmt: off


class What(Section):
    """What is drawn, and where it goes."""

    model: Annotated[str, Spec("Model", "tools", "pictures", "model", required=True, suggestions=PICKS)] = ""
    class_prompt: Annotated[str, Spec("Class prompt", "tools", "pictures", required=True)] = ""
    count: Annotated[int, Field(ge=1, le=10000), Spec("Number of pictures", "tools", "pictures")] = 100
    output: Annotated[
        str, Spec("Regularisation folder", "tools", "pictures", "new_folder", required=True)
    ] = ""


class How(Section):
    """How it is drawn."""

    prompts: Annotated[str, Spec("Prompts", "tools", "how", "lines")] = ""
    negative: Annotated[str, Spec("Negative prompt", "tools", "how", "lines")] = ""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1), Spec("Seed", "tools", "how")] = 1
    width: Annotated[int, Field(ge=0, le=LARGEST), Spec("Width", "tools", "how")] = 0
    height: Annotated[int, Field(ge=0, le=LARGEST), Spec("Height", "tools", "how")] = 0
    steps: Annotated[int, Field(ge=1, le=150), Spec("Sampling steps", "tools", "how")] = 28
    scale: Annotated[float, Field(ge=0, le=30), Spec("CFG scale", "tools", "how")] = 7.0
    sampler: Annotated[SamplerName, Spec("Sampler", "tools", "how")] = "euler_a"
    mixed_precision: Annotated[
        Literal["no", "fp16", "bf16"], Spec("Mixed precision", "tools", "how")
    ] = "fp16"


# fmt: on


class Regularisation(Form):
    """Pictures of the class by the base model itself."""

    what: What = What()
    how: How = How()


def _check(form: Regularisation) -> Iterator[Problem]:
    name = form.what.model
    place = Path(name) if Path(name).exists() else hub_folder(name) if is_hub_id(name) else None
    if place is None:
        yield block("model", "tools.model_not_here", name=name)
        return
    family = family_of_model(place, "model", DRAWABLE)
    for key in ("width", "height"):
        side = getattr(form.how, key)
        if side and (side < SMALLEST or side % 8):
            fixed = max(SMALLEST, round(side / 8) * 8)
            yield block(key, "tools.side", {key: fixed}, smallest=SMALLEST, fixed=fixed)
    try:
        training_folder_name(1, class_prompt=form.what.class_prompt)
    except UserError as error:
        yield block("class_prompt", error.message.code, **error.message.values)
        return
    yield from _options(form.how.prompts)
    if problem := cannot_write(SCHEMA["output"], _folder(form)):
        yield problem
        return
    if not missing_numbers(_batch(form, family), _folder(form)):
        yield hint("count", "tools.pictures_there", count=form.what.count)


def _options(prompts: str) -> Iterator[Problem]:
    """Lines written as for "Sample prompts": here their options would be drawn."""
    lines = prompts.splitlines()
    for number, line in asking_lines(prompts):
        words, *options = mended(line).split(" --")
        if option := next((option for option in options if read_option(option)), ""):
            fixed = [*lines[: number - 1], words.strip(), *lines[number:]]
            values = {"line": number, "option": f"--{option.strip()[:40]}"}
            yield block("prompts", "tools.prompt_options", {"prompts": "\n".join(fixed)}, **values)


def _family(form: Regularisation) -> Family | None:
    facts = known_facts(Model(pretrained_model_name_or_path=form.what.model))
    return FAMILIES[facts.family] if facts and facts.family else None


def _batch(form: Regularisation, family: Family) -> ToDraw:
    how, word = form.how, form.what.class_prompt.strip()
    lines = [line for _, line in asking_lines(how.prompts)] or [PLACEHOLDER]
    prompts = [
        SamplePrompt(
            line.replace(PLACEHOLDER, word), " ".join(how.negative.split()), how.width or family.side,
            how.height or family.side, scale=how.scale, steps=how.steps,
        )
        for line in lines
    ]  # fmt: skip
    return ToDraw(prompts, form.what.count, how.seed, how.sampler)


def _folder(form: Regularisation) -> Path:
    """As training reads it: one repeat, and the class word."""
    return Path(form.what.output) / training_folder_name(1, class_prompt=form.what.class_prompt)


def _run(form: Regularisation, work: Work) -> Path:
    facts, family = known_facts(Model(pretrained_model_name_or_path=form.what.model)), _family(form)
    name = Path(form.what.model).name
    assert family  # noqa: S101  # the check has seen it
    settings = Settings.from_flat(
        {
            "pretrained_model_name_or_path": form.what.model,
            **family.switches,
            "v_parameterization": bool(facts and (facts.v_prediction or likely_velocity(facts, name))),
            "mixed_precision": form.how.mixed_precision,
        }
    )
    drawn = draw_all(settings, _batch(form, family), _folder(form), work)
    work.tell("tools.pictures_drawn", count=drawn, path=form.what.output)
    return work.saved(Path(form.what.output), "folder")


SCHEMA = Schema(Regularisation, name="regularisation")
REGULARISATION = Tool("regularisation", "pictures", SCHEMA, _run, _check, "reg", resumes=True)
