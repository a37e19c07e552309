"""Which files are saved when, and which are removed again: by a plain count, and within limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainer.plan.run import sample_points
from trainer.plan.saves import LISTED, MOST_LORA_FILES, most_files, most_states, save_plans, save_points
from trainer.settings import MOST_STEPS, Sampling, Saving

SMALL = st.integers(0, 5)


@given(SMALL, SMALL, SMALL, SMALL, SMALL, SMALL, st.integers(1, 7), st.integers(1, 60))
def test_files_come_and_go_as_counted_step_by_step(
    epochs, steps, last, last_state, by_step, state, per, total
):
    saving = Saving(
        save_every_n_epochs=epochs,
        save_every_n_steps=steps,
        save_last_n_epochs=last,
        save_last_n_epochs_state=last_state,
        save_last_n_steps=by_step,
        save_last_n_steps_state=state,
    )
    plans = save_plans(saving, "a", ".pt", per, total)
    assert [save.step for save in plans] == sorted(save.step for save in plans)
    assert len(plans) == sum(map(len, save_points(saving, per, total))) + 1
    every = epochs * per
    told = {save.step: save for save in plans if save.epoch and save.step < total}
    assert list(told) == [step for step in range(1, total) if every and step % every == 0]
    for step, save in told.items():
        for keep, gone in ((last, save.gone_at), (last_state or last, save.state_gone_at)):
            assert gone == next((other for other in told if keep and other >= step + keep * every), 0)
    told = {save.step: save for save in plans if not save.epoch}
    assert list(told) == [step for step in range(1, total) if steps and step % steps == 0]
    for step, save in told.items():
        for keep, gone in ((by_step, save.gone_at), (state or by_step, save.state_gone_at)):
            assert gone == next((other for other in told if keep and other > step + keep), 0)
    for most, dying in (
        (most_files, lambda save: save.gone_at),
        (most_states, lambda save: save.state_gone_at),
    ):
        alive = [sum(s.step <= now and not 0 < dying(s) < now for s in plans) for now in range(total + 1)]
        assert most(plans) == max(alive)


@given(SMALL, SMALL, st.booleans(), st.integers(1, 7), st.integers(0, 60))
def test_sample_pictures_are_drawn_as_counted_step_by_step(epochs, steps, at_first, per, total):
    sampling = Sampling(
        sample_prompts="a cat",
        sample_every_n_epochs=epochs,
        sample_every_n_steps=steps,
        sample_at_first=at_first,
    )
    wanted = {0} if at_first else set[int]()
    for step in range(1, total + 1):
        ends_epoch = step % per == 0 or step == total
        if epochs and ends_epoch and -(-step // per) % epochs == 0:
            wanted.add(step)
        if steps and not epochs and step % steps == 0:
            wanted.add(step)
    assert sample_points(sampling, per, total) == (
        (*sorted(wanted),) if total else (),
        len(wanted) if total else 0,
    )


def test_no_list_is_longer_than_a_run_may_have():
    saving = Saving(save_every_n_steps=1, save_every_n_epochs=1, save_last_n_steps=3)
    plans = save_plans(saving, "a", ".pt", 1, MOST_STEPS)
    assert len(plans) == LISTED + 1
    assert plans[-1].step == MOST_STEPS
    assert sum(map(len, save_points(saving, 1, MOST_STEPS))) == 2 * (MOST_STEPS - 1)
    assert most_files(plans) > 4
    saving = Saving(save_every_n_epochs=0, save_every_n_steps=1)
    assert len(save_plans(saving, "a", ".pt", 1, MOST_LORA_FILES)) == MOST_LORA_FILES
    sampling = Sampling(sample_prompts="a", sample_every_n_steps=1, sample_at_first=True)
    points, times = sample_points(sampling, 1, MOST_STEPS)
    assert (len(points), times) == (LISTED + 1, MOST_STEPS + 1)
