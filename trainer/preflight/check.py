"""Everything that would stop or spoil a run, found before anything heavy is loaded.

`check` looks at settings, `check_values` at what stands in a form. Both are quick enough to be called at
every change: what was read from disk is remembered until it changes. The rules themselves stand in the
modules checks_*, by topic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trainer.data.datasets import Dataset, datasets_of
from trainer.data.folders import FolderScan, TrainImage
from trainer.families.family import Family
from trainer.families.table import named_by
from trainer.files.paths import clean_paths, with_clean_paths
from trainer.files.roots import Roots
from trainer.files.state_folder import StateAbout
from trainer.kohya import additional
from trainer.plan.inputs import Inputs, read_inputs
from trainer.plan.run import Plan
from trainer.preflight import (
    base_model,
    captions,
    dataset_file,
    family,
    folders,
    judging,
    limits,
    looks,
    masks,
    places,
    processes,
    resume,
    saving,
    spelling,
    training,
)
from trainer.preflight import pictures as checks_pictures
from trainer.preflight import values as checks_values
from trainer.problems import Problem, hint
from trainer.settings import Settings

MOST_PROBLEMS = 60
"""That are told at once; nobody reads more, and a text of nonsense may have thousands."""

__all__ = ["Checked", "Problem", "check", "check_values"]


@dataclass(frozen=True)
class Checked:
    """What the checks found; the plan where there are pictures and sizes to plan with."""

    problems: tuple[Problem, ...]
    plan: Plan | None = None
    assumed: tuple[str, ...] = ()
    """Settings whose proposed fix the plan takes for granted, where without it there would be none."""

    outside: bool = False
    """Something leads out of the folders that may be used; nothing else was looked at."""
    inputs: Inputs | None = None
    """What was looked at; a run begins with it."""

    @property
    def blocked(self) -> bool:
        """Whether something stands in the way."""
        return any(problem.blocks for problem in self.problems)


def check(
    settings: Settings,
    roots: Roots | None = None,
    most: int | None = None,
    *,
    continues: StateAbout | None = None,
) -> Checked:
    """Problems (those that stop the run first) and plan of these settings.

    Where strict `roots` are given and something leads out of them, nothing else is looked at.
    `most`: how many captions and masks are looked into that were not before (None: all). `continues` is the
    own state of a job that is continued; a new run may begin in that of the settings.
    """
    settings, unlike = _without(settings, places.impossible_paths(settings))
    if outside := places.check(settings, roots):
        return Checked((*unlike, *outside), outside=True)
    typed = additional.read(with_clean_paths(settings))
    counted = additional.applied(settings)
    counted, typed_unlike = _without(counted, places.impossible_paths(counted))
    counted, web = _without(counted, spelling.web_addresses(counted))
    settings, closed = _without(counted, places.closed_paths(counted))
    inputs, datasets = read_inputs(settings), datasets_of(settings)
    named = named_by(settings.model)
    model, pictures, reg = inputs.model, inputs.pictures, inputs.reg
    problems = [
        *unlike,
        *typed_unlike,
        *closed,
        *typed.problems,
        *spelling.variables(settings),
        *checks_values.check_unbuilt(settings),
        *base_model.check(settings.model),
        *family.check(settings, datasets, model),
        *_check_folders(settings, datasets, pictures, reg),
        *saving.check(settings),
        *(resume.differences(continues, settings) if continues else resume.check(settings)),
        *training.check(settings, datasets),
        *processes.check(settings.machine),
        *checks_pictures.check(datasets, [*pictures.images, *reg.images], named),
        *checks_pictures.check_masks(settings.images, datasets, pictures),
        *captions.check(settings, [*pictures.images, *reg.images], most),
        *_check_mask_files(datasets, [*pictures.images, *reg.images], named, most),
    ]
    of_web = {problem.setting for problem in web}
    problems = [*web, *(problem for problem in problems if problem.setting not in of_web)]
    state = continues or resume.about_to_resume(settings.saving)
    plan = _plan(inputs, state)
    if not plan:
        planned = _plan_after_fixes(settings, problems, roots)
        return Checked(_sorted(additional.with_fixes_that_count(problems, typed)), *planned, inputs=inputs)
    problems += [dataset_file.of_file(problem, *datasets) for problem in limits.check(settings, plan, model)]
    problems += training.check_plan(settings, datasets, plan)
    problems += saving.check_plan(settings, plan)
    problems += judging.check_plan(settings, plan)
    problems += () if continues else resume.check_plan(state, plan)
    return Checked(_sorted(additional.with_fixes_that_count(problems, typed)), plan, inputs=inputs)


def _without(settings: Settings, problems: tuple[Problem, ...]) -> tuple[Settings, tuple[Problem, ...]]:
    """Settings without the paths that cannot be looked at, and what is said of these."""
    return (
        settings.replace(**{problem.setting: "" for problem in problems}) if problems else settings
    ), problems


def _check_folders(
    settings: Settings, datasets: Sequence[Dataset], pictures: FolderScan, reg: FolderScan
) -> Iterator[Problem]:
    """Problems of the folders, or of the dataset file that names them."""
    if settings.folders.dataset_config:
        yield from dataset_file.check(settings, datasets, pictures, reg)
    else:
        yield from folders.check(settings.folders, settings.captions, pictures, reg)


def _check_mask_files(
    datasets: Sequence[Dataset], images: Sequence[TrainImage], family: Family, most: int | None
) -> Iterator[Problem]:
    """Masks under sizes that can be."""
    if not checks_pictures.no_buckets_possible(datasets, family):
        yield from masks.check(datasets, images, most)


def check_values(values: Mapping[str, Any], roots: Roots | None = None) -> tuple[Settings | None, Checked]:
    """Problems and plan of what stands in a form (texts, numbers, blanks as the page has them).

    The settings are None where a value is not legal; plan and other problems are then those of the
    nearest legal values, which are also the proposed fixes.
    """
    settings, problems = checks_values.typed_form(clean_paths(values))
    checked = check(settings, roots, looks.AT_A_LOOK)
    own = {problem.setting for problem in problems}
    of_checks = [problem for problem in checked.problems if problem.setting not in own]
    result = replace(checked, problems=_sorted([*problems, *of_checks]))
    return (None if any(problem.blocks for problem in problems) else settings), result


def _plan_after_fixes(
    settings: Settings, problems: list[Problem], roots: Roots | None
) -> tuple[Plan | None, tuple[str, ...]]:
    """The plan as it would be with all proposed fixes, and the settings that they change."""
    fixes = {
        key: value for problem in problems if problem.blocks for key, value in (problem.fix or {}).items()
    }
    fixes = {key: value for key, value in fixes.items() if value != settings.get(key)}
    if not fixes:
        return None, ()
    fixed = settings.replace(**fixes)
    if places.check(fixed, roots):
        return None, ()
    plan = _plan(read_inputs(fixed), resume.about_to_resume(fixed.saving))
    return plan, tuple(fixes) if plan else ()


def _plan(inputs: Inputs, state: StateAbout | None) -> Plan | None:
    """The plan, or None where there is nothing to plan with."""
    family = named_by(inputs.settings.model)
    if not inputs.pictures.images or checks_pictures.no_buckets_possible(
        datasets_of(inputs.settings), family
    ):
        return None
    return inputs.plan(first_step=state.step if state else 0)


def _sorted(problems: list[Problem]) -> tuple[Problem, ...]:
    """Each problem once, those that stop the run first; of very many the first."""
    once = {f"{problem.setting} {problem.code} {problem.values}": problem for problem in problems}
    ordered = sorted(once.values(), key=lambda problem: not problem.blocks)
    if len(ordered) <= MOST_PROBLEMS:
        return tuple(ordered)
    more = [problem for problem in ordered[MOST_PROBLEMS:] if problem.code != "preflight.more"]
    return (*ordered[:MOST_PROBLEMS], hint("", "preflight.more", count=f"{len(more):,}"))
