"""One process of each kind is killed at a random moment of a real run; the run goes on to its end."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from small import children, config, wait_for

from sfmarl.errors import RunError
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import SharedQueue
from sfmarl.run import runner, sitting
from sfmarl.run.children import Children
from sfmarl.run.plan import MOST_INFERENCE_WORKERS, MOST_WORKERS
from sfmarl.run.runner import train
from sfmarl.signals import Interrupted
from sfmarl.storage.checkpoint import checkpoint_paths, latest


def kill_when_running(role: str, run_dir, errors: list, kills: int = 1) -> threading.Thread:
    """Kill `kills` processes of `role` with SIGKILL, one after the other, once the run has recorded something."""

    def work():
        try:
            wait_for(lambda: (run_dir / "metrics.jsonl").exists() and (run_dir / "metrics.jsonl").stat().st_size)
            for _ in range(kills):
                victim = wait_for(lambda: children(role))[0]
                time.sleep(0.3)
                victim.kill()
                wait_for(lambda victim=victim: not victim.is_running())
        except AssertionError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "role", ["rollout", *(pytest.param(role, marks=pytest.mark.slow) for role in ("learner", "inference", "evaluator"))]
)
def test_a_killed_process_is_replaced(role, tmp_path, capsys):
    errors: list = []
    run_dir = tmp_path / "run"
    killer = kill_when_running(role, run_dir, errors)
    result = train(config(run_dir, env="tests.runs.small:Slow", env_steps=8_000))
    killer.join()
    assert not errors
    assert result.summary["stopped_by"] == "finished" and result.summary["env_steps"] >= 8_000
    # now and then it dies holding a queue's lock, and the others are replaced with it
    assert re.search(r"was killed by SIGKILL(; replaced| and left a queue locked)", capsys.readouterr().out)
    assert latest(run_dir).run_state["env_steps"] >= 8_000
    assert not children("")


@pytest.mark.slow
def test_a_killed_learner_goes_on_from_its_checkpoint(tmp_path):
    """Not from scratch: versions go on counting, and so do the optimiser's steps."""
    run_dir, before = tmp_path / "run", []

    def kill():
        wait_for(lambda: len(checkpoint_paths(run_dir)) > 2)
        before.append(latest(run_dir).read_policy("agent"))
        children("learner")[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    train(config(run_dir, env="tests.runs.small:Slow", env_steps=8_000, checkpoint_seconds=0.5))
    killer.join()
    after = latest(run_dir).read_policy("agent")
    assert after.policy_version > before[0].policy_version > 1
    steps = [name for name in after.algorithm_state["tensors"] if name.endswith("step")]
    assert steps
    for name in steps:
        assert (after.algorithm_state["tensors"][name] > before[0].algorithm_state["tensors"][name]).all()


@pytest.mark.slow
def test_a_killed_fork_server_ends_the_run_with_a_checkpoint(tmp_path):
    run_dir = tmp_path / "run"

    def kill():
        wait_for(lambda: (run_dir / "metrics.jsonl").exists() and (run_dir / "metrics.jsonl").stat().st_size)
        psutil.Process(children("learner")[0].ppid()).kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(RunError, match="fork server was killed"):
        train(config(run_dir, env="tests.runs.small:Slow", env_steps=10**7))
    killer.join()
    assert latest(run_dir).run_state["env_steps"] > 0
    wait_for(lambda: not children(""))


@pytest.mark.slow
def test_the_budget_for_replacements_ends_the_run(tmp_path):
    errors: list = []
    run_dir = tmp_path / "run"
    killer = kill_when_running("rollout-0", run_dir, errors, kills=2)
    with pytest.raises(RunError, match=r"rollout worker 0 was killed by SIGKILL, for the 2\. time"):
        train(config(run_dir, env="tests.runs.small:Slow", env_steps=10**7, max_restarts=1))
    killer.join()
    assert not errors and not children("")


@pytest.fixture
def start_cli():
    """Start runs by the command line, each in a process group of its own; none outlives the test."""
    started = []

    def start(run_dir):
        words = "train tests.runs.small:Slow --algo ippo --num-workers 2 --num-envs-per-worker 4 --env-steps 10000000"
        words += f" --run-dir {run_dir} --log-seconds 0.5"
        command = [sys.executable, "-m", "sfmarl", *words.split()]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _steps_recorded(run_dir):
    return (run_dir / "metrics.jsonl").exists() and (run_dir / "metrics.jsonl").stat().st_size


@pytest.mark.parametrize("stopped", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_children_end_with_a_killed_parent(stopped, start_cli, tmp_path):
    """kill -9 of the main process leaves no process and nothing in /dev/shm, nor does a child that cannot answer."""
    before = set(os.listdir("/dev/shm"))
    process = start_cli(tmp_path / "run")
    wait_for(lambda: _steps_recorded(tmp_path / "run"))
    family = psutil.Process(process.pid).children(recursive=True)
    assert len([p for p in family if p.name().startswith("sf-")]) == 5
    for child in family if stopped else ():
        if child.name().startswith("sf-rollout"):
            child.suspend()
    process.kill()
    process.communicate()
    wait_for(lambda: not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE])
    assert set(os.listdir("/dev/shm")) <= before


@pytest.mark.parametrize(
    ("number", "code", "group"),
    [
        pytest.param(signal.SIGINT, 130, True, id="ctrl-c"),
        pytest.param(signal.SIGTERM, 143, False, id="kill", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, True, id="service manager", marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_run_in_order(start_cli, number, code, group, tmp_path):
    """To the main process alone or to the whole process group: a checkpoint of what was learned, and nobody left."""
    process = start_cli(tmp_path / "run")
    wait_for(lambda: _steps_recorded(tmp_path / "run"))
    family = psutil.Process(process.pid).children(recursive=True)
    if group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=90)
    assert process.returncode == code, err
    assert "Traceback" not in err and "interrupted" in err + out
    assert "replaced" not in out
    assert latest(tmp_path / "run").run_state["env_steps"] > 0
    wait_for(lambda: not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE])


@pytest.mark.slow
def test_ctrl_c_during_start_up(start_cli, tmp_path):
    process = start_cli(tmp_path / "run")
    wait_for(lambda: (tmp_path / "run" / "config.json").exists())
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "Traceback" not in err + out


def test_ctrl_c_while_something_is_imported_is_not_lost(tmp_path, monkeypatch):
    """Packages take any exception in the middle of an import for a module that is missing."""

    class Writer(sitting.MetricsWriter):
        def __init__(self, *args, **kwargs):
            with contextlib.suppress(BaseException):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(sitting, "MetricsWriter", Writer)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        train(config(tmp_path / "run", mode="serial", num_workers=1))
    assert signal.getsignal(signal.SIGINT) is before
    assert not children("")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_serial_run_that_is_killed_again_and_again_is_the_one_that_was_not(tmp_path):
    """Episodes end with their slots, so every checkpoint falls between them: weights are equal to the bit."""
    words = "train native/simple_spread --env-kwargs max_cycles=8 --algo mappo --mode serial --num-workers 2"
    words += " --num-envs-per-worker 4 --rollout 8 --hidden 16 --epochs 2 --minibatches 2 --env-steps 12800"
    words += " --eval-env-steps 0 --final-eval-episodes 0 --checkpoint-seconds 0.1 --quiet --run-dir"
    command = [sys.executable, "-m", "sfmarl"]
    subprocess.run([*command, *words.split(), str(tmp_path / "whole")], check=True, timeout=90)
    run_dir, rng = tmp_path / "parts", random.Random(5)
    begun = []
    process = subprocess.Popen([*command, *words.split(), str(run_dir)])
    for _ in range(4):
        before = checkpoint_paths(run_dir)[:1]
        wait_for(lambda before=before: checkpoint_paths(run_dir)[:1] not in ([], before))
        time.sleep(rng.uniform(0.0, 0.2))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        begun.append(latest(run_dir).env_steps)
        process = subprocess.Popen([*command, "resume", str(run_dir)])
    assert process.wait(90) == 0
    assert begun == sorted(begun) and 0 < begun[-1] < 12_800
    whole, parts = (latest(path).read_policy("agent") for path in (tmp_path / "whole", run_dir))
    assert whole.policy_version == parts.policy_version
    tensors = whole.algorithm_state["tensors"], parts.algorithm_state["tensors"]
    assert not [name for name in tensors[0] if not tensors[0][name].equal(tensors[1][name])]


@pytest.mark.slow
def test_a_script_without_main_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sfmarl\n"
        f"sfmarl.train(sfmarl.Config(env='games/climbing', algo='ippo', run_dir=r'{tmp_path}/run', quiet=True))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=90)
    assert done.returncode == 1
    assert "__main__" in done.stderr
    assert "replaced" not in done.stdout


def test_the_largest_run_has_no_more_queues_than_a_child_can_be_passed(tmp_path):
    """Queues of as many workers as there may be."""
    plan, _ = runner.check_run(config(tmp_path))
    started = Children(plan, DataPlane.create(plan.plane), tmp_path)
    queues = SharedQueue.several(MOST_WORKERS + MOST_INFERENCE_WORKERS)
    started._handle.rollout_queues, started._handle.inference_queues = queues[2:], queues[:2]
    child = started.spawn("evaluator", 0, first=True)
    wait_for(lambda: started.listen(0.1, sentinels=True) or child.started)
    started.end(0.0)
    assert child.started
