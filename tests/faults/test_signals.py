"""Ctrl-C, SIGTERM and SIGHUP in every phase of every command that lasts: exit code, no traceback, nobody left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sfmarl.run.runner import train
from sfmarl.storage.checkpoint import checkpoint_paths, latest
from tests.runs.small import config, wait_for

HERE = Path(__file__).resolve().parent
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
END_SECONDS = 60.0
"""Patience with a program that was asked to end: it may finish what it is writing."""
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])


class Program:
    """A command in a process group of its own, whose temporary files go to `folder`."""

    def __init__(self, folder: Path, words: str, **environment: str) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self._shm = set(os.listdir("/dev/shm"))
        self.family: set[psutil.Process] = set()
        pipe, surroundings = subprocess.PIPE, {**os.environ, "TMPDIR": str(self.temporary), **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sfmarl", *words.split()],
            stdout=pipe, stderr=pipe, text=True, start_new_session=True, env=surroundings,
        )  # fmt: skip

    def children(self, name: str = "") -> list[psutil.Process]:
        """Return its descendants called `name`..., and remember all of them."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self.family.add(child)
                with contextlib.suppress(psutil.NoSuchProcess):
                    if child.name().startswith(name):
                        found.append(child)
        return found

    def wait_for(self, condition) -> None:
        """Wait for a moment that must come before the program ends."""
        wait_for(lambda: condition() or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.communicate()

    def answers_signals(self) -> bool:
        """Whether it holds SIGTERM back or has a handler for it: Python itself has started."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        masks = dict(line.split(":") for line in status.splitlines() if line.startswith(("SigBlk", "SigCgt")))
        return any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in masks.values())

    def send(self, number: signal.Signals) -> None:
        """Send a signal as it comes in life: a terminal and a closed one to the whole group, `kill` to one process."""
        self.children()
        if number is signal.SIGTERM:
            self.process.send_signal(number)
        else:
            os.killpg(self.process.pid, number)

    def ends_with(self, code: int) -> str:
        """Check how it ends and what it leaves; return what it said."""
        out, err = self.process.communicate(timeout=END_SECONDS)
        assert self.process.returncode == code, err + out
        assert "Traceback" not in err + out and "not expected" not in err + out, err + out
        assert err.rstrip().endswith("sfmarl: interrupted")
        wait_for(lambda: not [process for process in self.family if lives(process)])
        assert set(os.listdir("/dev/shm")) <= self._shm
        left = [path for path in self.temporary.rglob("*") if path.name.startswith(("sfmarl", ".tmp"))]
        assert not left
        return err + out

    def kill(self) -> None:
        """End whatever is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def begin(tmp_path):
    """Start commands; none outlives the test."""
    begun: list[Program] = []

    def start(words: str, **environment: str) -> Program:
        begun.append(Program(tmp_path, words, **environment))
        return begun[-1]

    yield start
    for program in begun:
        program.kill()


def training(tmp_path: Path, env: str, more: str = "") -> str:
    words = f"train {env} --algo ippo --num-workers 2 --num-envs-per-worker 4 --rollout 8 --env-steps 10000000"
    return f"{words} --eval-env-steps 0 --final-eval-episodes 0 --log-seconds 0.5 --run-dir {tmp_path / 'run'} {more}"


def learned(run_dir: Path) -> bool:
    """Whether a checkpoint is there of more than the initial weights."""
    return bool(paths := checkpoint_paths(run_dir)) and not paths[0].name.endswith("-000000000000")


@pytest.mark.slow
@SIGNALS
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3, 0.6, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0])
def test_at_any_moment_of_starting_up(seconds, number, begin, tmp_path):
    """While modules are imported, the environment is looked at, memory is reserved, and processes are started."""
    program = begin(training(tmp_path, "tests.runs.small:Slow"))
    program.wait_for(program.answers_signals)
    time.sleep(seconds)
    program.send(number)
    program.ends_with(CODES[number])
    if checkpoint_paths(tmp_path / "run"):
        latest(tmp_path / "run")


@pytest.mark.slow
@SIGNALS
def test_while_workers_build_their_environments(number, begin, tmp_path):
    program = begin(training(tmp_path, "tests.faults.troubles:NeverBuilt"))
    program.wait_for(lambda: len(program.children("sf-rollout")) == 2 and program.children("sf-evaluator"))
    program.send(number)
    program.ends_with(CODES[number])
    assert latest(tmp_path / "run").env_steps == 0


@pytest.mark.slow
@SIGNALS
def test_before_the_first_update(number, begin, tmp_path):
    program = begin(training(tmp_path, "tests.faults.troubles:Crawling", "--env-kwargs seconds=0.3"))
    program.wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists())
    program.send(number)
    program.ends_with(CODES[number])
    assert latest(tmp_path / "run").read_policy("agent").policy_version == 1


@pytest.mark.slow
@SIGNALS
@pytest.mark.parametrize("group", ["train", "league"])
def test_in_training(group, number, begin, tmp_path):
    env = "tests.runs.small:Slow" if group == "train" else "native/tic_tac_toe"
    program = begin(training(tmp_path, env).replace("train", group, 1))
    program.wait_for(lambda: '"learner/' in read(tmp_path / "run" / "metrics.jsonl"))
    program.send(number)
    program.ends_with(CODES[number])
    assert latest(tmp_path / "run").env_steps > 0


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.slow
@SIGNALS
def test_during_a_periodic_evaluation(number, begin, tmp_path):
    words = training(tmp_path, "tests.runs.small:Slow", "--eval-episodes 1000000")
    program = begin(words.replace("--eval-env-steps 0", "--eval-env-steps 300"))
    program.wait_for(lambda: learned(tmp_path / "run"))  # written for the evaluation, which begins with it
    time.sleep(0.3)
    program.send(number)
    program.ends_with(CODES[number])
    assert learned(tmp_path / "run")


@pytest.mark.slow
@SIGNALS
def test_during_the_final_evaluation(number, begin, tmp_path):
    words = training(tmp_path, "tests.runs.small:Slow").replace("--env-steps 10000000", "--env-steps 300")
    program = begin(words.replace("--final-eval-episodes 0", "--final-eval-episodes 1000000"))
    program.wait_for(lambda: program.children("sf-rollout"))
    program.wait_for(lambda: learned(tmp_path / "run") and not program.children("sf-rollout"))
    time.sleep(0.3)
    program.send(number)
    program.ends_with(CODES[number])
    assert latest(tmp_path / "run").env_steps >= 300


def saving(tmp_path: Path, begin, seconds: float) -> Program:
    """Start a run and wait until it is writing its second checkpoint, which takes `seconds`."""
    marker = tmp_path / "saving"
    program = begin(
        training(tmp_path, "tests.runs.small:Slow", f"--checkpoint-seconds 0.5 --imports {HERE / 'slow_saving.py'}"),
        SAVING_MARKER=str(marker),
        SLOW_SAVING=str(seconds),
    )
    program.wait_for(marker.exists)
    return program


@pytest.mark.slow
@SIGNALS
def test_while_a_checkpoint_is_written(number, begin, tmp_path):
    """It is finished, and followed by the last one."""
    program = saving(tmp_path, begin, 2.0)
    program.send(number)
    program.ends_with(CODES[number])
    assert learned(tmp_path / "run") and len(checkpoint_paths(tmp_path / "run")) == 3
    assert not list((tmp_path / "run").rglob(".tmp-*"))


@pytest.mark.slow
@SIGNALS
def test_twice_while_a_checkpoint_is_written(number, begin, tmp_path):
    """Written for ever: the run ends at once all the same, with the checkpoint before."""
    program = saving(tmp_path, begin, 3600.0)
    program.send(number)
    time.sleep(1.0)
    assert program.process.poll() is None
    program.send(number)
    program.ends_with(CODES[number])
    assert latest(tmp_path / "run").env_steps == 0


@pytest.mark.slow
@SIGNALS
def test_twice_while_a_league_is_drained(number, begin, tmp_path):
    """Its workers are in a step that takes for ever: once would end the run after some patience, twice does at once."""
    words = training(tmp_path, "tests.faults.troubles:Crawling", "--env-kwargs seconds=3600 --teams each")
    program = begin(words.replace("train", "league", 1).replace("--algo ippo", "--algo ippo --hang-seconds 0"))
    program.wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists())
    program.send(number)
    time.sleep(0.5)
    assert program.process.poll() is None
    program.send(number)
    program.ends_with(CODES[number])
    latest(tmp_path / "run")


@pytest.mark.slow
def test_a_closed_terminal_ends_a_run_unless_it_is_ignored(begin, tmp_path, monkeypatch):
    """As `nohup` does it: the run goes on, and Ctrl-C still ends it."""
    old = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a child inherits it; these tests may run under nohup, too
    try:
        program = begin(training(tmp_path, "tests.runs.small:Slow"))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ignoring = begin(training(tmp_path / "nohup", "tests.runs.small:Slow"))
    finally:
        signal.signal(signal.SIGHUP, old)
    program.wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists())
    program.send(signal.SIGHUP)
    program.ends_with(CODES[signal.SIGHUP])
    program = ignoring
    metrics = tmp_path / "nohup" / "run" / "metrics.jsonl"
    program.wait_for(metrics.exists)
    program.send(signal.SIGHUP)
    size = metrics.stat().st_size
    program.wait_for(lambda: metrics.stat().st_size > size)
    program.send(signal.SIGINT)
    program.ends_with(130)


@pytest.mark.slow
def test_a_signal_and_its_echo_are_one_request(begin, tmp_path):
    """A closed terminal's shell and the kernel both send SIGHUP: what was learned is saved all the same."""
    program = begin(training(tmp_path, "tests.runs.small:Slow"))
    program.wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists())
    for _ in range(2):
        program.send(signal.SIGHUP)
        time.sleep(0.002)
    program.ends_with(CODES[signal.SIGHUP])
    assert learned(tmp_path / "run")


@pytest.mark.slow
@SIGNALS
@pytest.mark.parametrize("baseline", ["", "--random-baseline"])
def test_evaluate(baseline, number, begin, tmp_path):
    train(config(tmp_path / "run", mode="serial", env="tests.runs.small:Slow", env_steps=64, num_workers=1))
    program = begin(f"evaluate {tmp_path / 'run'} --episodes 1000000 {baseline}")
    program.wait_for(program.answers_signals)
    time.sleep(2.0)
    program.send(number)
    program.ends_with(CODES[number])


@pytest.mark.slow
@SIGNALS
@pytest.mark.parametrize("seconds", [0.0, 0.3, 3.0], ids=["processes start", "they import", "they play"])
def test_tournament(seconds, number, begin):
    program = begin("tournament one=random two=random --env native/connect_four --games 200000 --workers 2")
    program.wait_for(lambda: len(program.children()) >= 3)  # with multiprocessing's own helper
    time.sleep(seconds)
    program.send(number)
    program.ends_with(CODES[number])


@pytest.mark.slow
@SIGNALS
@pytest.mark.parametrize("seconds", [1.0, 3.0], ids=["start", "measuring"])
def test_tune(seconds, number, begin):
    program = begin("tune tests.runs.small:Slow --algo ippo --probe-seconds 60")
    program.wait_for(program.children)
    time.sleep(seconds)
    program.send(number)
    program.ends_with(CODES[number])


@pytest.mark.slow
@SIGNALS
def test_tune_while_it_trains(number, begin):
    program = begin("tune tests.runs.small:Slow --algo ippo --probe-seconds 1 --measure --trial-seconds 60")
    program.wait_for(lambda: program.children("sf-rollout"))
    time.sleep(1.0)
    program.send(number)
    program.ends_with(CODES[number])


@pytest.mark.slow
@SIGNALS
def test_sweep(number, begin, tmp_path):
    pytest.importorskip("optuna")
    words = training(tmp_path, "tests.runs.small:Slow").replace("train", "sweep", 1)
    program = begin(words.replace("--final-eval-episodes 0", "--final-eval-episodes 1") + " --search lr=log:1e-4..1e-2")
    program.wait_for(lambda: (tmp_path / "run" / "trial-000" / "metrics.jsonl").exists())
    program.send(number)
    assert "sfmarl resume" in program.ends_with(CODES[number])


@pytest.mark.slow
@SIGNALS
def test_series(number, begin, tmp_path):
    program = begin(training(tmp_path, "tests.runs.small:Slow", "--seeds 1 2"))
    program.wait_for(lambda: (tmp_path / "run" / "seed-1" / "metrics.jsonl").exists())
    program.send(number)
    assert "sfmarl resume" in program.ends_with(CODES[number])


@pytest.mark.slow
@SIGNALS
@pytest.mark.parametrize("words", ["doctor", "check-env tests.runs.small:Slow --seconds 60"])
def test_commands_that_only_look(words, number, begin):
    program = begin(words)
    program.wait_for(program.answers_signals)
    time.sleep(2.0)
    program.send(number)
    program.ends_with(CODES[number])
