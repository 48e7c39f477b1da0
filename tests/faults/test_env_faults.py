"""Whole runs on environments that fail: they go on, they tell, and they stop when it is too much."""

from __future__ import annotations

import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.config import Config
from sfmarl.errors import EnvFault, RunError
from sfmarl.memory.words import ROLLOUT_COUNTS
from sfmarl.run.runner import resume, train
from sfmarl.run.sitting import _restore_counters
from sfmarl.storage.checkpoint import latest
from sfmarl.workers.faults import FILE, LONGEST_PAUSE_SECONDS, TRACEBACKS, WARNINGS, WINDOW, EnvFaults, SplitFaults
from tests.faults import faulty
from tests.faults.faulty import COUNTS, SEEDS, SUCCESSORS

STEP = "raise,exit,nan,inf,shape,dtype,nobody,stranger,reward,word,state"
"""Ways of PettingZoo environments to fail in a step."""
RESET = "raise,exit,nan,inf,shape,dtype,stranger"


def config(run_dir, kind, place="step", ways="raise", every=50, **settings) -> Config:
    faulty.begin()
    defaults = {
        "env": f"tests.faults.faulty:{kind}",
        "env_kwargs": {"place": place, "ways": ways, "every": every},
        "algo": "ippo",
        "hp": Hyperparameters(critic="own", hidden=(16,), epochs=1, returns="vtrace"),
        "mode": "serial",
        "env_steps": 1200,
        "num_workers": 1,
        "num_envs_per_worker": 4,
        "rollout": 8,
        "eval_env_steps": 0,
        "final_eval_episodes": 0,
        "log_seconds": 0.1,
        "max_env_faults": 1000,
        "run_dir": run_dir,
    }
    return Config(**{**defaults, **settings})


def check_finished(run, at_least=10):
    """It took all its steps, counted every fault, learned from finite numbers, and never used a seed twice."""
    assert run.summary["env_steps"] >= 1200
    assert COUNTS["failed"] >= at_least
    assert run.metrics()[-1]["env/faults"] == COUNTS["failed"]
    derived = [seed for seed in SEEDS if seed > 100]  # others are those of who looks at an environment first
    assert len(set(derived)) == len(derived) >= COUNTS["failed"]
    for name in latest(run.run_dir).policy_names:
        for tensor in latest(run.run_dir).read_policy(name).algorithm_state["tensors"].values():
            assert np.isfinite(tensor.float().numpy()).all()
    returns = [r[k] for r in run.metrics() for k in r if k.startswith("episode/return")]
    assert returns and all(math.isfinite(value) for value in returns)
    lengths = [record["episode/length"] for record in run.metrics() if "episode/length" in record]
    assert set(lengths) == {10.0}, "a broken episode is none"


SAID = {
    "raise": "FloatingPointError: the physics exploded in",
    "exit": "raised SystemExit: 3",
    "nan": "nan at 1: observations must be finite",
    "inf": "inf at 1: observations must be finite",
    "shape": r"expected shape \(3,\), got \(4,\)",
    "dtype": "expected dtype float32, got <U1",
    "nobody": r"reading what step\(\) returned raised TypeError|which is not in possible_agents",
    "stranger": "somebody.*not in possible_agents",
    "nothing": "started an episode without any agent",
    "reward": "agent_[01]'?: reward: expected a finite number, got",
    "word": "reward: expected a number, got 'much'",
    "state": r"state\(\) must be finite|state\(\) raised CodecError: nan",
}


@pytest.mark.parametrize("kind", ["Together", "ByTurns"])
@pytest.mark.parametrize(("place", "ways"), [("step", STEP), ("reset", RESET)])
def test_pettingzoo_environments_are_rebuilt_one_by_one(kind, place, ways, tmp_path):
    """Whatever they do. The others of the split go on: nobody but the faulty ones is built anew."""
    ways += ",nothing" if (kind, place) == ("Together", "reset") else ""
    if kind == "ByTurns" and place == "reset":
        ways = ways.replace(",stranger", ",stranger,nobody")
    hp = Hyperparameters(critic="state", hidden=(16,), epochs=1, returns="vtrace")
    run = train(config(tmp_path / "run", kind, place, ways, 60 if place == "step" else 12, hp=hp))
    check_finished(run, len(ways.split(",")))
    assert list(range(1, COUNTS["failed"] + 1)) == SUCCESSORS
    told = (tmp_path / "run" / FILE).read_text()
    for way in ways.split(","):
        assert re.search(SAID[way], told), f"{way} was not told in\n{told}"


@pytest.mark.parametrize(
    ("kind", "ways"), [("AllAtOnce", "raise,exit,nan,inf,reward"), ("Tables", "raise,exit,nan,inf,reward")]
)
@pytest.mark.parametrize("place", ["step", "reset"])
def test_native_environments_are_rebuilt_as_a_whole(kind, place, ways, tmp_path):
    ways = ways.replace(",reward", "") if place == "reset" else ways
    run = train(config(tmp_path / "run", kind, place, ways, 40 if place == "step" else 5, num_splits=1))
    check_finished(run, len(ways.split(",")))
    assert list(range(1, COUNTS["failed"] + 1)) == SUCCESSORS
    told = (tmp_path / "run" / FILE).read_text()
    for said in ("FloatingPointError", "SystemExit", "nan; it must be finite", "inf; it must be finite"):
        assert said in told


def test_the_console_tells_the_first_few(tmp_path, capsys):
    run = train(config(tmp_path / "run", "Together", every=60))
    assert COUNTS["failed"] > WARNINGS
    shown = capsys.readouterr().out
    assert shown.count("The environment is built anew") == WARNINGS
    assert "rollout worker 0: tests.faults.faulty:Together, copy" in shown
    assert "Further ones are only counted (env/faults)" in shown and str(run.run_dir / FILE) in shown
    kept = (run.run_dir / FILE).read_text()
    assert kept.count("Traceback") >= COUNTS["failed"] and 'raise FloatingPointError(f"the physics exploded' in kept


@pytest.mark.parametrize("kind", ["Together", "ByTurns", "AllAtOnce", "Tables"])
def test_too_many_faults_stop_the_run_with_a_checkpoint(kind, tmp_path):
    with pytest.raises(RunError) as error:
        train(config(tmp_path / "run", kind, every=40, max_env_faults=3, quiet=True))
    assert "the physics exploded in step" in str(error.value)
    assert f"environment fault 4 of rollout worker 0 within {WINDOW:,} env-steps; 3 are mended" in str(error.value)
    assert "--max-env-faults" in str(error.value) and FILE in str(error.value)
    assert error.value.exit_code == 1
    saved = latest(tmp_path / "run").run_state
    assert saved["env_steps"] > 0
    resumed = resume(tmp_path / "run", env_steps=saved["env_steps"] + 100, max_env_faults=1000)
    assert resumed.metrics()[-1]["env/faults"] >= 4, "the count goes on"


@pytest.mark.parametrize("kind", ["Together", "ByTurns", "AllAtOnce", "Tables"])
def test_zero_stops_at_the_first(kind, tmp_path):
    with pytest.raises(RunError, match="the physics exploded in step") as error:
        train(config(tmp_path / "run", kind, max_env_faults=0, quiet=True))
    assert "max-env-faults" not in str(error.value)
    assert latest(tmp_path / "run").run_state["env_steps"] > 0 and not (tmp_path / "run" / FILE).exists()


@pytest.mark.parametrize("kind", ["Together", "ByTurns", "AllAtOnce", "Tables"])
def test_a_close_that_fails_is_told_and_the_run_is_whole(kind, tmp_path, capsys):
    run = train(config(tmp_path / "run", kind, "close", "raise,exit", 1, env_steps=400))
    assert json.loads((run.run_dir / "summary.json").read_text())["stopped_by"] == "finished"
    assert re.search(r"warning.*close\(\) raised (FloatingPointError|SystemExit)", capsys.readouterr().out)


def test_a_rebuild_that_fails_counts_and_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(faulty.Stubborn, "tries", iter(range(100)))
    run = train(config(tmp_path / "run", "Stubborn", every=300, env_steps=1000, quiet=True))
    assert run.metrics()[-1]["env/faults"] == COUNTS["failed"] + 2
    told = (run.run_dir / FILE).read_text()
    assert told.count("could not be built anew") == 2 and "the licence server is down" in told


def test_serial_runs_with_faults_are_equal(tmp_path):
    """New seeds are derived, and nothing depends on the clock."""
    seen = []
    for name in ("one", "other"):
        run = train(config(tmp_path / name, "Together", ways="raise,nan", every=90, quiet=True))
        seen.append((list(SEEDS), latest(run.run_dir).read_policy("agent").algorithm_state["tensors"]))
    assert seen[0][0] == seen[1][0]
    assert all(seen[0][1][name].equal(seen[1][1][name]) for name in seen[0][1])


def make_faults(allowed, run_dir=None):
    counts, said, pauses = np.zeros(5, np.int64), [], []
    return EnvFaults(2, allowed, counts, said.append, run_dir, pauses.append), counts, said, pauses


def test_the_budget_is_of_a_window_of_env_steps():
    faults, counts, said, _ = make_faults(2)
    for at in (0, 10, WINDOW + 5, WINDOW + 11):
        counts[0] = at
        faults.note(EnvFault("it broke"))
    assert counts[4] == 4 and len(said) == 4
    with pytest.raises(RunError, match="environment fault 3 of rollout worker 2"):
        faults.note(EnvFault("it broke"))


def test_a_disk_that_is_full_costs_the_traceback_only(tmp_path):
    faults, _, said, _ = make_faults(9, tmp_path / "not" / "there")
    faults.note(EnvFault("it broke"))
    assert "it broke. The environment is built anew" in said[0] and "cannot be written" in said[0]


def test_the_file_of_tracebacks_is_bounded(tmp_path):
    faults, *_ = make_faults(10_000, tmp_path)
    for _ in range(TRACEBACKS + 20):
        faults.note(EnvFault("it broke"))
    assert (tmp_path / FILE).read_text().count("it broke") == TRACEBACKS


def test_pauses_grow_and_are_bounded():
    faults, counts, _, pauses = make_faults(9)
    split = SplitFaults(faults, 1, 0, 0, 0)
    with pytest.raises(RunError, match="could not be built anew: 'no'"):
        split.rebuild(lambda seeds: 1 / 0 if seeds is None else [].index("no"), None, [3], EnvFault("it broke", 3))
    assert pauses == sorted(pauses) and pauses[-1] == LONGEST_PAUSE_SECONDS
    assert counts[4] == 10


def test_an_earlier_checkpoint_counts_fewer_things():
    """Counters that came later begin at zero."""
    words = SimpleNamespace(counts={"rollout": np.zeros((2, len(ROLLOUT_COUNTS)), np.int64)})
    _restore_counters(words, {"counts": {"rollout": [7, 8, 9, 10]}})
    assert words.counts["rollout"].tolist() == [[7, 8, 9, 10, 0], [0] * 5]


def test_an_evaluation_that_fails_is_told_and_training_goes_on(tmp_path, capsys):
    """Also that of a native environment, which raises what it likes."""
    settings = {"eval_env_steps": 400, "eval_episodes": 4, "num_splits": 1}
    run = train(config(tmp_path / "run", "AllAtOnce", every=1, **settings))
    assert run.summary["env_steps"] >= 1200
    assert re.search(
        "The evaluation of .* failed: .* FloatingPointError: the physics exploded", capsys.readouterr().out
    )
