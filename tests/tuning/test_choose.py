"""The choice, from figures whose best arrangement is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sfmarl.config import Config
from sfmarl.envs.registry import load_spec
from sfmarl.run.plan import make_plan
from sfmarl.run.validate import validate
from sfmarl.run.validate_env import validate_for_env
from sfmarl.tuning import choose
from sfmarl.tuning.choose import Bounds, candidates, diverse, rank
from sfmarl.tuning.figures import Curve, Figures
from sfmarl.tuning.model import Candidate, predict

ENV = load_spec(Config(env="games/climbing"))


def figures(**changes) -> Figures:
    """Return 8 cores; an env-step costs 10 us to step and nothing else counts."""

    def line(fixed, each):
        return Curve(((1, fixed + each), (1024, fixed + 1024 * each)))

    settings = {
        "cores": 8,
        "busy_percent": 0.0,
        "device": "cpu",
        "agents": 2.0,
        "step": line(0, 10e-6),
        "pause": line(0, 0),
        "act": line(1e-9, 1e-9),
        "learn": {1: (line(1e-9, 1e-9),)},
        "wake_seconds": 60e-6,
        "wake_cpu_seconds": 40e-6,
    }
    for name, value in changes.items():
        is_line = name in ("step", "pause", "act")
        settings[name] = line(*value) if is_line else value
    if isinstance(settings["learn"], tuple):
        settings["learn"] = {1: (line(*settings["learn"]),)}
    return Figures(**settings)


def bounds(kept=(), **settings) -> Bounds:
    config = Config(env="games/climbing", algo="ippo", num_workers=settings.pop("workers", 8), **settings)
    return Bounds(config, make_plan(config, ENV), frozenset(kept))


def best(given: Figures, *kept: str, **settings) -> Candidate:
    return rank(given, bounds(kept, **settings))[0].candidate


def arrangement(**changes) -> Candidate:
    return replace(Candidate(8, 32, 2, "worker", 1, 128, 1), **changes)


# -------------------------------------------------------------------------------------------------------- the model


def test_an_environment_that_costs_all_takes_all_cores():
    one = predict(figures(), arrangement(workers=1, inference="local"), rollout=32, sync=False)
    eight = predict(figures(), arrangement(inference="local"), rollout=32, sync=False)
    assert one.env_steps_per_second == pytest.approx(1e5, rel=0.01)
    assert eight.env_steps_per_second == pytest.approx(8e5, rel=0.05)
    assert eight.agent_steps_per_second == 2 * eight.env_steps_per_second
    assert one.bottleneck == "environment"


def test_bounds_of_a_worked_example():
    """16 envs a split: stepping 160 us, acting 116 us, learning 5 us per env-step, wake-up 60 us."""
    given = figures(act=(100e-6, 1e-6), learn=(0.0, 5e-6))
    found = predict(given, arrangement(), rollout=32, sync=False)
    # two splits: one is answered (116 + 60 us) while the other is stepped (160 us)
    assert found.bounds["environment"] == pytest.approx(8 * 32 / (160e-6 + 116e-6 + 60e-6))
    # about 8 of the 16 splits are answered together
    act = (100e-6 + 128e-6) / 128
    assert found.bounds["inference"] == pytest.approx(1 / (act + 20e-6 / 16))
    assert found.bounds["learner"] == pytest.approx(2e5)
    assert found.bounds["cores"] == pytest.approx(8 / (10e-6 + act + 40e-6 / 16 + 5e-6))
    assert 0.97 < found.env_steps_per_second / 2e5 <= 1
    assert found.bottleneck == "learner"


def test_a_second_split_hides_waiting_for_actions():
    given = figures(act=(150e-6, 0))
    splits = {s: predict(given, arrangement(workers=2, splits=s), 32, False).bounds["environment"] for s in (1, 2)}
    assert splits[1] == pytest.approx(2 * 32 / (320e-6 + 210e-6))
    assert splits[2] == pytest.approx(2 * 32 / (160e-6 + 210e-6))


def test_in_sync_mode_nobody_steps_while_an_update_is_made():
    given = figures(learn=(0.0, 1.25e-6))
    found = predict(given, arrangement(inference="local", update_envs=256), rollout=32, sync=True)
    assert found.env_steps_per_second == pytest.approx(1 / (1.25e-6 + 1.25e-6), rel=0.03)


# ------------------------------------------------------------------------------------------------------- the choice


def test_expensive_environments_get_all_cores():
    assert best(figures()).workers >= 7


def test_environments_that_wait_get_more_workers_than_cores():
    given = figures(step=(0, 20e-6), pause=(0, 1e-3))
    assert best(given).workers == 64
    assert predict(given, arrangement(workers=64, envs=4), 32, False).bottleneck == "environment"


def test_a_learner_that_is_the_bottleneck_gets_threads_and_no_extra_workers():
    lines = {threads: (Curve(((1, 100e-6 / threads**0.9), (2, 200e-6 / threads**0.9))),) for threads in (1, 2, 4)}
    found = best(figures(learn=lines))
    assert found.learner_threads == 4
    assert found.processes <= 8


def test_a_tiny_network_is_local_and_a_dear_forward_pass_is_shared():
    """A pass costs 50 us beside 20 us for a step of all envs; or 10 ms beside 100 us per env, whatever its rows."""
    tiny = best(figures(step=(20e-6, 0.1e-6), act=(50e-6, 0.1e-6)))
    assert tiny.inference == "local"
    large = best(figures(step=(0, 100e-6), act=(10e-3, 0)))
    assert large.inference == "worker"


def test_local_inference_is_not_for_gpus():
    assert {c.inference for c in candidates(figures(device="cuda"), bounds())} == {"worker"}


def test_large_forward_passes_pay_where_calls_are_dear():
    few = best(figures(act=(1e-9, 1e-6)), "inference", inference="local")
    many = best(figures(act=(5e-3, 1e-6)), "inference", inference="local")
    assert many.total_envs > few.total_envs


def test_a_batch_leaves_as_many_slots_to_be_filled_meanwhile():
    """Unless what is given has no more."""
    for limits in (bounds(), bounds({"batch_size"}, batch_size=32 * 32 * 2)):
        assert all(2 * p.candidate.update_envs <= p.candidate.total_envs for p in rank(figures(), limits))
    tight = bounds({"num_workers", "num_envs_per_worker", "batch_size"}, workers=1, batch_size=32 * 32 * 2)
    assert {p.candidate.update_envs / p.candidate.total_envs for p in rank(figures(), tight)} == {1.0}


def test_equal_predictions_change_least():
    """Nothing but the learner counts: any arrangement is as good."""
    found = best(figures(learn=(0.0, 1e-3)))
    assert found.update_envs == bounds().update_envs == 128
    assert found.total_envs == bounds().total_envs and found.processes <= 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_workers", 5),
        ("num_envs_per_worker", 48),
        ("num_splits", 1),
        ("inference", "worker"),
        ("num_inference_workers", 3),
        ("batch_size", 2048),
        ("learner_threads", 2),
    ],
)
def test_what_is_given_is_kept(name, value):
    workers = {"workers": value} if name == "num_workers" else {name: value}
    limits = bounds({name}, **workers)
    found = rank(figures(learn={1: (Curve(((1, 1e-9),)),), 2: (Curve(((1, 1e-9),)),)}), limits)
    assert found
    assert {getattr(limits.to_config(p.candidate), name) for p in found} == {value}


def test_every_candidate_is_a_legal_run_within_the_bounds_of_learning():
    for settings in ({}, {"batch_size": 4096}, {"mode": "sync"}):
        limits = bounds({name for name in settings if name in choose.TUNED}, **settings)
        samples = limits.update_envs * 32 * 2
        found = list(candidates(figures(), limits))
        assert len(found) > 20
        for candidate in found:
            config = limits.to_config(candidate)
            validate(config)
            validate_for_env(config, ENV, candidate.workers)
            plan = make_plan(config, ENV)
            update, lanes = plan.batch_lanes[0], plan.plane.lanes_of_policy(0)
            assert update == candidate.update_envs
            assert limits.samples(candidate) == update * 32 * 2
            assert samples / 2 <= update * 32 * 2 <= 2 * samples
            assert update == lanes if limits.plan.sync else lanes / 4 <= update <= lanes
            assert config.hp == limits.config.hp and config.ring == limits.config.ring


def test_given_settings_may_leave_nothing(monkeypatch):
    one_lane = bounds({"num_workers", "num_envs_per_worker", "batch_size"}, workers=1, batch_size=32 * 2)
    assert rank(figures(), one_lane) == []
    monkeypatch.setattr(choose, "available_bytes", lambda: 1000)
    assert rank(figures(), bounds()) == []


def test_trials_differ_in_kind():
    found = diverse(rank(figures(), bounds()), 3)
    kinds = [(p.candidate.inference, p.candidate.workers, p.candidate.envs) for p in found]
    assert len(set(kinds)) == 3
