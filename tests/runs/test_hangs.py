"""Who hangs, and how soon a component is replaced: pure classes, told what time it is."""

from __future__ import annotations

from sfmarl.run.child import Child
from sfmarl.run.hangs import LONGEST_LOOK, HangWatch
from sfmarl.run.restarts import LONGEST_DELAY, SHORT_LIFE, WINDOW, Restarts


def test_only_a_count_that_stands_still_is_a_hang():
    watch, patience = HangWatch(), {"a": 2.0, "b": 2.0}
    found = [watch.look({"a": look, "b": 7}, patience, now=0.5 * look) for look in range(6)]
    assert found == [[], [], [], [], [], ["b"]]


def test_a_pass_begins_the_patience_anew():
    watch = HangWatch()
    counts = [0, 0, 0, 1, 1, 1, 1]
    found = [watch.look({"a": count}, {"a": 2.5}, now=float(look)) for look, count in enumerate(counts)]
    assert found == [[]] * 6 + [["a"]]


def test_a_new_process_is_not_blamed_for_its_predecessor():
    watch = HangWatch()
    for look in range(4):
        watch.look({(0, "old"): 3}, {(0, "old"): 2.5}, now=float(look))
    assert watch.look({(0, "new"): 3}, {(0, "new"): 2.5}, now=4.0) == []


def test_time_in_which_nobody_looked_counts_for_nothing():
    """The main process was stopped with everybody else."""
    watch = HangWatch()
    watch.look({"a": 0}, {"a": 3 * LONGEST_LOOK}, now=0.0)
    assert watch.look({"a": 0}, {"a": 3 * LONGEST_LOOK}, now=3600.0) == []


def test_the_budget_is_for_deaths_that_follow_each_other():
    restarts = Restarts(budget=2)
    assert restarts.after(100.0) == 0.0
    assert restarts.after(100.0) == 0.0
    assert restarts.after(WINDOW - 99.0) == 0.0  # the first is forgiven
    assert restarts.after(1.0) is None


def test_neither_building_nor_standing_still_is_work():
    child = Child("rollout", 0, None, None, None, born=0.0, first=False)
    assert child.worked(100.0) == 0.0 and not child.started
    child.started_at, child.stood_still = 10.0, 60.0
    assert child.worked(100.0) == 30.0
    child.stood_still = 95.0
    assert child.worked(100.0) == 0.0


def test_who_does_nothing_but_hang_uses_the_budget_up():
    """However long it takes until that is noticed."""
    restarts = Restarts(budget=10)
    delays = [restarts.after(0.5) for _ in range(11)]
    assert None not in delays[:10] and delays[10] is None


def test_who_dies_young_again_and_again_is_replaced_ever_later():
    restarts = Restarts(budget=20)
    delays = [restarts.after(SHORT_LIFE / 2) for _ in range(12)]
    assert delays[:5] == [0.0, 0.5, 1.0, 2.0, 4.0] and delays[-1] == LONGEST_DELAY
    assert restarts.after(2 * SHORT_LIFE) == 0.0
    assert restarts.after(SHORT_LIFE / 2) == 0.0
