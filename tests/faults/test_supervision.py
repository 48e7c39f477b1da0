"""Real processes that hang, crash, or die at the worst moment: who is replaced, what is said, and what is kept."""

from __future__ import annotations

import dataclasses
import json
import signal
import threading
from functools import partial

import psutil
import pytest

from sfmarl.errors import OutcomeError, RunError
from sfmarl.monitor.system import SystemSampler
from sfmarl.run.children import Children
from sfmarl.run.processes import Failure
from sfmarl.run.runner import train
from sfmarl.run.supervisor import Supervisor
from sfmarl.storage.checkpoint import latest
from tests.faults.troubles import SIMULATOR_SECONDS
from tests.runs.small import children, config, wait_for

PATIENCE = 4.0
"""Seconds: longer than a busy machine lets a healthy process wait for its turn."""


def events(run_dir) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]


def trouble(tmp_path, kind: str):
    """Return a run of 6000 env-steps whose environment makes this trouble once."""
    kwargs = {"trouble": kind, "marker": str(tmp_path / "marker")}
    return config(tmp_path / "run", env="tests.faults.troubles:Trouble", env_kwargs=kwargs, env_steps=6_000,
                  hang_seconds=PATIENCE)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "reason", "stacks"),
    [
        pytest.param("sleep", "made no progress for 4 s", "sleep_for_ever", marks=pytest.mark.slow),
        pytest.param("queue", "made no progress for 4 s", "wait_for_a_simulator", marks=pytest.mark.slow),
        pytest.param("simulator", "made no progress for 4 s", "sleep_for_ever", marks=pytest.mark.slow),
        pytest.param("stop", "made no progress for 4 s (it was stopped by a signal)", "", marks=pytest.mark.slow),
        pytest.param("exit", "ended with exit code 3", "", marks=pytest.mark.slow),
        ("segfault", "was killed by SIGSEGV", "troubles.py"),
    ],
)
def test_a_worker_that_an_environment_brings_down_is_replaced(kind, reason, stacks, tmp_path, capsys):
    result = train(trouble(tmp_path, kind))
    assert result.summary["stopped_by"] == "finished" and (tmp_path / "marker").exists()
    [died] = [event for event in events(tmp_path / "run") if event["event"] == "died"]
    assert died["component"].startswith("rollout worker") and died["reason"] == reason
    assert f"{died['component']} {reason}; replaced (1 of 10)." in " ".join(capsys.readouterr().out.split())
    assert stacks in died["stacks"]
    if stacks:
        assert stacks in (tmp_path / "run" / "stacks.txt").read_text()
    recovered = [event["component"] for event in events(tmp_path / "run") if event["event"] == "recovered"]
    assert recovered == [died["component"]]
    assert not children("")
    assert not simulators(), "what a worker has started ends with it"


def simulators() -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", str(SIMULATOR_SECONDS)]]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exit", "segfault"])
def test_what_a_worker_had_started_when_it_died_is_ended(kind, tmp_path):
    settings = trouble(tmp_path, kind)
    train(dataclasses.replace(settings, env="tests.faults.troubles:WithASimulator"))
    assert [event["event"] for event in events(tmp_path / "run")].count("died") == 1
    assert not simulators(), "those of the dead one; the others were closed"


@pytest.mark.slow
def test_a_worker_that_fails_closes_its_environments_and_ends_what_they_leave(tmp_path):
    kwargs = {"trouble": "raise", "marker": str(tmp_path / "marker"), "listens": False}
    with pytest.raises(RunError, match="the simulator does not answer"):
        train(config(tmp_path / "run", env="tests.faults.troubles:WithASimulator", env_kwargs=kwargs,
                     env_steps=10**7, num_workers=1, max_env_faults=0))  # fmt: skip
    built, closed = ((tmp_path / f"marker-{what}").read_text().split() for what in ("built", "closed"))
    assert len(built) >= 4 and sorted(closed) == sorted(built)
    assert not simulators()


@pytest.mark.slow
def test_a_replacement_that_cannot_be_built_is_tried_again(tmp_path, capsys):
    kwargs = {"marker": str(tmp_path / "marker")}
    train(config(tmp_path / "run", env="tests.faults.troubles:HardToReplace", env_kwargs=kwargs, env_steps=6_000))
    [segfault, first, second] = [event for event in events(tmp_path / "run") if event["event"] == "died"]
    assert {first["component"], second["component"]} == {segfault["component"]}
    assert "the port is taken" in first["reason"] and "the port is taken" in second["stacks"]
    assert "could not be started again" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_replacement_that_can_never_be_built_ends_the_run(tmp_path):
    kwargs = {"marker": str(tmp_path / "marker")}
    with pytest.raises(RunError, match=r"could not be started again \(.*the port is taken\), for the 2\. time"):
        train(config(tmp_path / "run", env="tests.faults.troubles:HardToReplace", env_kwargs=kwargs, env_steps=10**7,
                     max_restarts=1))  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segfault", "exit", "sleep"])
def test_an_environment_that_fails_in_the_final_evaluation_costs_the_score_alone(kind, tmp_path, capsys):
    kwargs = {"trouble": kind}
    result = train(config(tmp_path / "run", env="tests.faults.troubles:TroubleInTheEnd", env_kwargs=kwargs,
                          env_steps=1_000, final_eval_episodes=2, hang_seconds=PATIENCE))  # fmt: skip
    assert result.summary["stopped_by"] == "finished" and result.summary["evaluation"] is None
    assert latest(tmp_path / "run").env_steps >= 1_000 and (tmp_path / "run" / "summary.json").exists()
    told = " ".join(capsys.readouterr().out.split())
    assert "warning: the final evaluation failed" in told and "warning: evaluator" in told
    [died] = [event for event in events(tmp_path / "run") if event["event"] == "died"]
    assert died["component"] == "evaluator" and not children("")


@pytest.mark.slow
@pytest.mark.parametrize("late", ["failure", "death"])
def test_what_happens_while_training_ends_does_not_cost_the_score(late, tmp_path, monkeypatch):
    """A worker that fails when all is saved; an evaluator that has just died."""
    end, stop_training = Children.end, Supervisor.stop_training

    def failing(children, patience, but=None):
        worker = children.running["rollout", 0] if but else None
        end(children, patience, but)
        if worker:
            children.failures.append((worker, Failure("too late", "", "", OutcomeError, 0.0)))

    def without_evaluator(supervisor):
        evaluator = supervisor.children.running["evaluator", 0]
        evaluator.kill()
        supervisor.children.remove(evaluator)
        return stop_training(supervisor)

    if late == "failure":
        monkeypatch.setattr(Children, "end", failing)
    else:
        monkeypatch.setattr(Supervisor, "stop_training", without_evaluator)
    result = train(config(tmp_path / "run", env_steps=1_000, final_eval_episodes=2))
    assert result.summary["evaluation"]["episodes"] == 2


@pytest.mark.slow
def test_an_evaluator_has_the_patience_of_one_copy_for_each_that_it_builds(tmp_path):
    result = train(config(tmp_path / "run", env="tests.faults.troubles:SlowToBuild", env_steps=100, num_workers=1,
                          num_envs_per_worker=1, num_splits=1, final_eval_episodes=16, hang_seconds=2.0))  # fmt: skip
    assert result.summary["evaluation"]["episodes"] == 16
    assert not [event for event in events(tmp_path / "run") if event["event"] == "died"]


@pytest.mark.parametrize("known", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["signed lock", "hang"])
def test_a_queue_whose_lock_died_with_its_owner_is_replaced(known, tmp_path, monkeypatch):
    """Also where the lock cannot be read: then whoever hangs in it gives it away."""
    if not known:
        monkeypatch.setattr("sfmarl.memory.queues.SharedQueue.lock_holder", lambda queue: None)
    result = train(trouble(tmp_path, "lock"))
    assert result.summary["stopped_by"] == "finished"
    happened = [event["event"] for event in events(tmp_path / "run")]
    assert "rebuilt" in happened
    recovered = {event["component"] for event in events(tmp_path / "run") if event["event"] == "recovered"}
    assert recovered == {"rollout worker 0", "rollout worker 1", "inference worker 0"}
    learner = [event for event in events(tmp_path / "run") if event.get("component") == "learner"]
    assert [event["event"] for event in learner] == ["spawned"]  # it kept its state
    assert not children("")


@pytest.mark.slow
@pytest.mark.parametrize("role", ["learner", "inference", "evaluator"])
def test_a_process_that_was_stopped_is_replaced(role, tmp_path):
    run_dir = tmp_path / "run"

    def stop():
        wait_for(lambda: (run_dir / "metrics.jsonl").exists() and (run_dir / "metrics.jsonl").stat().st_size)
        children(role)[0].send_signal(signal.SIGSTOP)

    stopper = threading.Thread(target=stop)
    stopper.start()
    result = train(config(run_dir, env="tests.runs.small:Slow", env_steps=16_000, hang_seconds=PATIENCE))
    stopper.join()
    assert result.summary["stopped_by"] == "finished"
    [died] = [event for event in events(run_dir) if event["event"] == "died"]
    assert died["component"].startswith(role) and "was stopped by a signal" in died["reason"]


@pytest.mark.slow
def test_an_environment_that_is_never_built_ends_the_run(tmp_path):
    with pytest.raises(RunError, match=r"made no progress for 20 s before it could start\. Where it was stands in"):
        train(config(tmp_path / "run", env="tests.faults.troubles:NeverBuilt", hang_seconds=PATIENCE))
    assert "sleep_for_ever" in (tmp_path / "run" / "stacks.txt").read_text()
    assert not children("")


def test_the_first_failure_is_the_one_that_is_told(tmp_path):
    """In the exception, in crash.txt and in events.jsonl, with its traceback; what was learned is kept."""
    run_dir = tmp_path / "run"
    with pytest.raises(RunError, match=r"rollout worker \d failed: .*the physics exploded"):
        train(config(run_dir, env="tests.runs.small:RaisesAtStep", env_steps=10**7))
    [failed] = [event for event in events(run_dir) if event["event"] == "failed"]
    assert "the physics exploded" in failed["reason"] and "Traceback" in failed["traceback"]
    last = events(run_dir)[-1]
    assert last["event"] == "ended" and failed["reason"] in last["reason"]
    assert failed["component"] in (run_dir / "crash.txt").read_text()
    assert latest(run_dir).run_state["env_steps"] > 0


@pytest.mark.slow
def test_a_worker_whose_environments_leak_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr("sfmarl.run.training.SystemSampler", partial(SystemSampler, memory_seconds=0.0))
    settings = {"env": "tests.faults.troubles:Leaking", "env_steps": 6_000, "max_worker_gib": 0.6, "log_seconds": 0.3}
    result = train(config(tmp_path / "run", **settings))
    assert result.summary["stopped_by"] == "finished"
    died = [event for event in events(tmp_path / "run") if event["event"] == "died"]
    assert died and all(event["component"].startswith("rollout worker") for event in died)
    assert all("(--max-worker-gib)" in event["reason"] for event in died)
