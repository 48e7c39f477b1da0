"""Training while random processes of it are killed: what was lost, what was left behind, and what was learned.

    python benchmarks/chaos.py                          # 200 faults, about an hour
    python benchmarks/chaos.py --faults 8 --interval 4 --results /tmp/try

MAPPO on native simple_spread at a pace that makes the run last. Every few seconds something happens to one of its
processes, drawn at random: SIGKILL or SIGSTOP to a rollout worker, an inference worker or a learner; a rollout worker
that dies while it holds the lock of a queue; SIGKILL to the main process, after which the run is resumed from its
checkpoint. In the end the run is asked to stop, and its policy is compared with one that was trained undisturbed for as
many env-steps. Results go to results/chaos.json and .md; the exit code is 1 if something was not survived.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
import psutil
from chaos_report import page, table
from watched_run import WatchedRun, shm_bytes

from sfmarl.errors import RunError
from sfmarl.evaluation.evaluate import evaluate_run
from sfmarl.storage import checkpoint

HERE = Path(__file__).resolve().parent
WEIGHTS = {"rollout": 5, "inference": 3, "learner": 3, "lock": 2, "main": 2}
"""How often each kind of victim is drawn, relative to the others."""
STOPPED = 0.2
"""Share of faults of workers and learners that are SIGSTOP instead of SIGKILL."""
PATIENCE = 120.0
"""Seconds within which a run must have recovered from a fault."""


def main() -> int:
    """Disturb, compare, report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200, help="things that happen")
    parser.add_argument("--interval", type=float, default=15.0, help="mean seconds from a recovery to the next fault")
    parser.add_argument("--step-seconds", type=float, default=0.1, help="least duration of a step of a worker's worlds")
    parser.add_argument("--hang-seconds", type=float, default=8.0, help="--hang-seconds of the run")
    parser.add_argument("--checkpoint-seconds", type=float, default=20.0, help="--checkpoint-seconds of the run")
    parser.add_argument("--episodes", type=int, default=200, help="episodes of each of the two final scores")
    parser.add_argument("--seed", type=int, default=1, help="of the faults and of both trainings")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON and table go")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave through the same door as after Ctrl-C
    with tempfile.TemporaryDirectory(prefix="sfmarl-chaos-") as folder:
        record = measure(args, Path(folder))
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "chaos.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.results / "chaos.md").write_text(page(record))
    print(table(record))
    return 0 if record["survived"] else 1


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return everything that is reported, in plain JSON types."""
    began, shm_before = time.time(), shm_bytes()
    disturbed, calm = folder / "disturbed", folder / "calm"
    chaos = Chaos(args, WatchedRun(disturbed), folder / "trigger")
    try:
        failure = chaos.disturb()
    finally:
        chaos.run.kill()
        orphans = chaos.orphans + len(chaos.run.orphans())
        chaos.run.end()
    time.sleep(1.0)
    shm_left, tmp_left = shm_bytes() - shm_before, chaos.run.left_in_tmp()
    steps = checkpoint.latest(disturbed).run_state["env_steps"]
    score = evaluate_run(disturbed, episodes=args.episodes, checkpoint="latest")
    words = [sys.executable, "-m", "sfmarl", *training(args, calm, 0.0, ""), "--env-steps", str(steps), "--quiet"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    undisturbed = evaluate_run(calm, episodes=args.episodes, checkpoint="latest")
    events = [json.loads(line) for line in (disturbed / "events.jsonl").read_text().splitlines()]
    return {
        "command": " ".join(["python", "benchmarks/chaos.py", *sys.argv[1:]]),
        "machine": machine.describe(),
        "seconds": time.time() - began,
        "survived": not (failure or orphans or chaos.checkpoints_lost or shm_left > 0 or tmp_left),
        "failure": failure,
        "faults": dict(chaos.faults),
        "recovered": chaos.recovered,
        "rebuilt": sum(event["event"] == "rebuilt" for event in events),
        "recovery_seconds": [
            {"component": event["component"].split()[0], "seconds": event["seconds"]}
            for event in events if event["event"] == "recovered"
        ],
        "resume_seconds": chaos.resume_seconds,
        "env_steps": steps,
        "env_steps_lost": chaos.env_steps_lost,
        "agent_steps_unlearned": chaos.agent_steps_unlearned,
        "checkpoints_lost": chaos.checkpoints_lost,
        "orphans": orphans,
        "shm_bytes_left": shm_left,
        "tmp_left": tmp_left,
        "score": score.to_json()["teams"]["agent"],
        "score_undisturbed": undisturbed.to_json()["teams"]["agent"],
        "settings": {name: value for name, value in vars(args).items() if name != "results"},
    }  # fmt: skip


def training(args: argparse.Namespace, run_dir: Path, seconds: float, trigger: str) -> list[str]:
    """Return the words of the command that starts the training."""
    kwargs = json.dumps({"seconds": seconds, "trigger": trigger})
    words = f"train benchmark/paced_spread --algo mappo --seed {args.seed} --num-workers 2 --gamma 0.9"
    words += " --num-envs-per-worker 32 --trace-lambda 0.9 --lr 1e-3 --eval-env-steps 0 --final-eval-episodes 0"
    words += f" --hang-seconds {args.hang_seconds} --checkpoint-seconds {args.checkpoint_seconds} --log-seconds 1"
    words += f" --max-restarts 1000 --run-dir {run_dir}"
    return [*words.split(), "--env-kwargs", kwargs, "--imports", str(HERE / "chaos_env.py")]


def name_of(process: psutil.Process) -> str:
    """Return a process's name, empty when it has ended."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def is_stopped(process: psutil.Process) -> bool:
    """Whether a process got a SIGSTOP and is still there."""
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


@dataclass
class Chaos:
    """One training and what is done to it."""

    args: argparse.Namespace
    run: WatchedRun
    trigger: Path
    """Whose existence makes a rollout worker die holding a lock."""
    faults: Counter[str] = field(default_factory=Counter)
    recovered: int = 0
    """Faults after which training went on."""
    resume_seconds: list[float] = field(default_factory=list)
    """From `sfmarl resume` to the first env-step, each time."""
    env_steps_lost: int = 0
    """Env-steps after the checkpoint that was resumed from."""
    agent_steps_unlearned: int = 0
    """Agent-steps that killed learners had learned from since their last checkpoint."""
    checkpoints_lost: int = 0
    """Checkpoints that were there before a kill and could not be read after it."""
    orphans: int = 0
    """Processes that outlived a killed main process by more than 10 s."""

    def disturb(self) -> str:
        """Train, disturb, stop in order. Returns what was not survived, or an empty string."""
        rng = random.Random(self.args.seed)
        words = training(self.args, self.run.run_dir, self.args.step_seconds, str(self.trigger))
        self.run.start([*words, "--env-steps", "1000000000"])
        if not self._goes_on(0):
            return "the run did not start"
        for number in range(self.args.faults):
            if not self._wait(rng.expovariate(1.0 / self.args.interval)):
                return f"the run ended by itself: {self.run.last_words()}"
            victim = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            before = self._env_steps()
            name = self._disturb(victim, rng)
            print(f"{number + 1:4d}  {name}", flush=True)
            self.faults[name] += 1
            if not self._goes_on(before, name):
                return f"training did not go on within {PATIENCE:.0f} s of: {name}. {self.run.last_words()}"
            self.recovered += 1
        self.run.process.send_signal(signal.SIGINT)
        if not self.run.ends_within(PATIENCE):
            return "the run did not stop when it was asked to"
        code = self.run.process.returncode
        return "" if code == 130 else f"the run ended with exit code {code}: {self.run.last_words()}"

    def _disturb(self, victim: str, rng: random.Random) -> str:
        """Let something happen to the run; return what."""
        if victim == "main":
            self._kill_main()
            return "main process: SIGKILL, then resume"
        if victim == "lock":
            self.trigger.touch()
            deadline = time.monotonic() + PATIENCE
            while self.trigger.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            return "rollout worker: SIGKILL while it holds the lock of a queue"
        family = [child for child in self.run.family() if name_of(child).startswith(f"sf-{victim}")]
        number = signal.SIGSTOP if rng.random() < STOPPED else signal.SIGKILL
        if victim == "learner":
            self.agent_steps_unlearned += self._since_checkpoint()[1]
        if family:
            with contextlib.suppress(psutil.NoSuchProcess):
                rng.choice(sorted(family, key=lambda child: child.pid)).send_signal(number)
        return f"{victim}{'' if victim == 'learner' else ' worker'}: {number.name}"

    def _kill_main(self) -> None:
        """Kill the main process, see that nobody outlives it, resume."""
        there = checkpoint.checkpoint_paths(self.run.run_dir)
        self.run.kill()
        self.orphans += len(self.run.orphans())
        self.env_steps_lost += self._since_checkpoint()[0]
        try:
            found = checkpoint.latest(self.run.run_dir)
            self.checkpoints_lost += found.path.name < there[0].name if there else 0
        except RunError:
            self.checkpoints_lost += 1
        began = time.monotonic()
        self.run.start(["resume", str(self.run.run_dir)])
        # counters go back to the checkpoint: what is new is a record of the resumed run
        size = (self.run.run_dir / "events.jsonl").stat().st_size
        while time.monotonic() - began < PATIENCE and (self.run.run_dir / "events.jsonl").stat().st_size == size:
            time.sleep(0.05)
        self._goes_on(checkpoint.latest(self.run.run_dir).run_state["env_steps"])
        self.resume_seconds.append(time.monotonic() - began)

    def _since_checkpoint(self) -> tuple[int, int]:
        """Return env-steps and agent-steps that were recorded after the newest checkpoint."""
        record, state = self.run.record(), checkpoint.latest(self.run.run_dir).run_state
        return tuple(max(0, int(record.get(name, 0)) - state[name]) for name in ("env_steps", "agent_steps"))

    def _env_steps(self) -> int:
        return int(self.run.record().get("env_steps", 0))

    def _goes_on(self, before: int, name: str = "") -> bool:
        """Whether env-steps grow beyond `before` and, whoever was killed, an update follows, within PATIENCE."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.run.process.poll() is None:
            record = self.run.record()
            happened = self._pending()
            if record.get("env_steps", 0) > before and "learner/agent/loss_value" in record and not happened:
                return True
            time.sleep(0.2)
        return False

    def _pending(self) -> bool:
        """Whether some component died in this sitting and has not recovered yet."""
        try:
            lines = (self.run.run_dir / "events.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return True
        waiting: set[str] = set()
        for event in map(json.loads, lines):
            match event["event"]:
                case "begun" | "resumed":
                    waiting = set()
                case "died":
                    waiting.add(event["component"])
                case "recovered":
                    waiting.discard(event["component"])
        return bool(waiting) or any(map(is_stopped, self.run.family()))

    def _wait(self, seconds: float) -> bool:
        """Wait; False if the run ended meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.run.process.poll() is not None:
                return False
            time.sleep(0.1)
        return True


if __name__ == "__main__":
    sys.exit(main())
