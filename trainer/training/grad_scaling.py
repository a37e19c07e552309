"""Steps that the gradient scaling of "Mixed precision" fp16 leaves out: normal now and then, and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainer.errors import UserError
from trainer.events import Event, Notice

MOST_IN_A_ROW = 60
"""The scale starts at 65,536 and halves at each skipped step: after 60 it is no matter of scale any more."""


@dataclass
class SkippedSteps:
    """How many steps changed nothing because a gradient overflowed float16."""

    emit: Callable[[Event], None]
    total: int = 0
    in_a_row: int = 0

    def count(self, *, skipped: bool) -> None:
        """Count one step. Raises UserError where no step in a long while did anything."""
        self.total += skipped
        # Now and then is how the scale finds its size; only without end it is a fault.
        self.in_a_row = self.in_a_row + 1 if skipped else 0
        if self.in_a_row >= MOST_IN_A_ROW:
            raise UserError("training.all_skipped", "mixed_precision", count=self.in_a_row)

    def tell(self) -> None:
        """Say how many there were."""
        if self.total:
            self.emit(Notice("training.steps_skipped", {"count": self.total}))
