"""What the page asks while it is open: every question takes one JSON object and returns one.

They are called straight from the page's script (gr.HTML server functions: no queue, behind the same login as
the page), and every one goes through `question`.
"""

from __future__ import annotations

from collections.abc import Callable

from app.answers.form import FormAnswers
from app.answers.question import Answer, Request, questions_of
from app.answers.room import RoomAnswers
from app.answers.runs import RunAnswers
from app.answers.tools import ToolAnswers
from app.jobs.store import JobStore
from app.paths import Roots


class Answers:
    """All questions, answered for one workspace. `roots`: the folders that the page may use."""

    def __init__(self, store: JobStore, roots: Roots | None = None) -> None:
        self.store = store
        self.form = FormAnswers(store, roots)
        self.runs = RunAnswers(store)
        self.room = RoomAnswers(store, self.form.roots)
        self.tools = ToolAnswers(store, self.form.roots)
        self.questions: dict[str, Callable[[Request], Answer]] = {
            **questions_of(self.form),
            **questions_of(self.runs),
            **questions_of(self.room),
            **questions_of(self.tools),
        }

    def functions(self) -> list[Callable[[Request], Answer]]:
        """For `gr.HTML(server_functions=…)`."""
        return list(self.questions.values())
