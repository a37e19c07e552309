"""What the checks find, for tests of single rules."""

from __future__ import annotations

from trainer.preflight.check import Checked, check
from trainer.problems import Problem
from trainer.settings import Settings


def find(checked: Checked, code: str) -> Problem:
    """The problem of this code; said in both languages, so that no value is missing."""
    found = [problem for problem in checked.problems if problem.code == code]
    assert found, [problem.code for problem in checked.problems]
    for problem in checked.problems:
        assert "{" not in str(problem.said("en")) + str(problem.said("ja"))
    return found[0]


def expect(settings: Settings, code: str, *, setting: str, blocks: bool) -> Problem:
    """The checks find this problem; where it has a fix, the fix mends it."""
    problem = find(check(settings), code)
    assert (problem.setting, problem.blocks) == (setting, blocks)
    if problem.fix:
        mended = check(settings.replace(**problem.fix))
        assert code not in [other.code for other in mended.problems]
    return problem
