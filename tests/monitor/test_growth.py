"""Who grows is told, who does not is left alone."""

from __future__ import annotations

from sfmarl.monitor.growth import Growth, GrowthWatch

GIB = 2**30


def told(sizes, pid=7, seconds=600.0):
    """Return the times at which a process of these sizes (GiB), seen every `seconds`, is spoken of."""
    watch = GrowthWatch()
    return [i for i, size in enumerate(sizes) if watch.look(i * seconds, {pid: size * GIB})]


def test_a_process_that_doubles_is_told_each_time():
    assert told([0.2, 0.5, 0.6, 0.7, 1.0, 1.5, 1.9, 2.0, 3.0, 4.0]) == [4, 7, 9]


def test_what_a_process_needs_to_begin_with_is_no_growth():
    """It is compared with itself from five minutes on."""
    assert told([0.1, 2.0, 2.1, 2.2, 2.1, 2.2, 2.0, 2.1]) == []
    assert told([0.1, 0.5, 1.0, 2.0, 4.0], seconds=10.0) == []


def test_small_processes_may_double():
    assert told([0.05, 0.05, 0.1, 0.2, 0.4]) == []


def test_a_successor_is_another_process():
    watch = GrowthWatch()
    for at in range(3):
        watch.look(at * 400.0, {7: GIB})
    assert watch.look(1600.0, {8: 9 * GIB}) == []
    assert watch.look(2000.0, {7: 4 * GIB, 8: 9 * GIB}) == []


def test_the_sentence_says_how_long_memory_lasts():
    said = Growth(123, 0.5 * GIB, 2.5 * GIB, 2 * 3600.0).sentence("rollout worker 1", 10 * GIB)
    assert said.startswith("rollout worker 1 (process 123) has grown from 0.5 to 2.5 GiB in 2.0 hours")
    assert "10.0 GiB are free" in said and "full in 10.0 hours" in said
