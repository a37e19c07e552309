"""A Stop before the first step ends the process; from then on it is the loop's to see."""

from __future__ import annotations

import threading

from trainer.jobs.stopping import EarlyStop


def test_a_stop_is_seen_while_the_process_is_busy():
    wish, left = threading.Event(), threading.Event()
    stop = EarlyStop(wish.is_set, left.set)
    stop.watch()
    assert not left.is_set()
    wish.set()
    assert left.wait(60)
    stop.over()


def test_once_training_has_begun_it_is_not_asked_again():
    asked = threading.Event()

    def requested() -> bool:
        asked.set()
        return False

    stop = EarlyStop(requested, lambda: None)
    stop.watch()
    assert asked.wait(60)
    stop.over()  # what was being asked is over, too: it waits for the look that is at work
    asked.clear()
    assert not asked.wait(0.5)
