"""Where in its run a training stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """Optimizer steps done; the epoch (from 1) and the batch in it (from 0) that come next."""

    step: int = 0
    epoch: int = 1
    batch: int = 0

    @property
    def last_epoch(self) -> int:
        """The epoch to which the last step belongs; 0 before the first."""
        return self.epoch if self.batch else self.epoch - 1


def position_at(step: int, batches_per_epoch: int, accumulate: int) -> Position:
    """Where a run stands after so many steps, by its epochs as they are now."""
    # An epoch's last, short step is a step.
    epochs, steps = divmod(step, -(-batches_per_epoch // accumulate)) if batches_per_epoch else (0, 0)
    return Position(step, epochs + 1, steps * accumulate)


@dataclass(frozen=True)
class StepGroup:
    """The batches of one optimizer step, and where the run stands after it."""

    epoch: int
    batches: tuple[int, ...]
    after: Position


def groups_from(
    position: Position, batches_per_epoch: int, accumulate: int, total_steps: int
) -> Iterator[StepGroup]:
    """The optimizer steps still to do.

    An epoch's last group may be short ("Gradient accumulation steps" does not divide the batches): it is
    stepped all the same, so that an epoch is an epoch.
    """
    step, epoch, first = position.step, position.epoch, position.batch
    while step < total_steps:
        for start in range(first, batches_per_epoch, accumulate):
            if step >= total_steps:
                return
            step += 1
            end = min(start + accumulate, batches_per_epoch)
            at_end = end == batches_per_epoch
            # At an epoch's end it stands at the next one's beginning: a state continues there.
            after = Position(step, epoch + 1 if at_end else epoch, 0 if at_end else end)
            yield StepGroup(epoch, tuple(range(start, end)), after)
        epoch, first = epoch + 1, 0
