"""A training that is killed twenty times and resumed, beside one that is left alone: counters go on, scores agree.

    python benchmarks/kill_resume.py                                # five seeds, about half an hour
    python benchmarks/kill_resume.py --seeds 1 --kills 3 --env-steps 60000 --results /tmp/try

Asynchronous MAPPO on native simple_spread. The main process is killed by SIGKILL at moments drawn evenly over the
run's env-steps, some of them while it starts up again; each time it is resumed by `sfmarl resume`. Before every resume
the newest checkpoint is compared with the one before the last kill: env-steps, agent-steps, episodes, policy version,
Adam's steps, samples in the normaliser, and the learning rate's schedule go on from there. Results go to
results/kill_resume.json and .md; the exit code is 1 if a run did not go on, a counter jumped, or something was left
behind.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import kill_resume_report
import machine
from watched_run import WatchedRun, shm_bytes

from sfmarl.errors import RunError
from sfmarl.evaluation.evaluate import evaluate_run
from sfmarl.memory.words import ROLLOUT_COUNTS
from sfmarl.statistics import mean_interval
from sfmarl.storage import checkpoint

HERE = Path(__file__).resolve().parent
AGENTS = 3
"""Of simple_spread: agent-steps of an env-step."""
LENGTH = 25
"""Of its episodes."""
WORKERS, ENVS = 2, 64
"""Rollout workers, and environments of all of them."""
EPOCHS = 5
LR = 1e-3
CHECKPOINT_SECONDS = 1.0
"""Between checkpoints: what a kill costs is as much on average."""
EARLY = 0.2
"""Share of the kills, from the second on, that come while the run is starting again."""
START_SECONDS = 4.0
"""Such a kill comes within so many seconds of the resume."""
LAST_KILL = 0.9
"""Share of the env-steps after which nobody is killed any more: the last sitting has something to do."""
PATIENCE = 120.0
"""Seconds within which a run must start, or come to its next kill or its end without a record of more env-steps."""


def main() -> int:
    """Kill, resume, compare, report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="of the trainings and the kills")
    parser.add_argument("--kills", type=int, default=20, help="per seed")
    parser.add_argument("--env-steps", type=int, default=600_000, help="of each training")
    parser.add_argument("--episodes", type=int, default=200, help="of each final score")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON and table go")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave through the same door as after Ctrl-C
    began, pairs = time.time(), []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory(prefix="sfmarl-kill-") as folder:
            pairs.append(one_seed(args, seed, Path(folder)))
            print(kill_resume_report.line(pairs[-1]), flush=True)
    differences = [pair["killed"]["score"] - pair["whole"]["score"] for pair in pairs if not pair["failure"]]
    record = {
        "command": " ".join(["python", "benchmarks/kill_resume.py", *sys.argv[1:]]),
        "machine": machine.describe(),
        "seconds": time.time() - began,
        "env_steps": args.env_steps,
        "seeds": pairs,
        "difference": mean_interval(differences).to_json(),
        "survived": all(
            not (pair["failure"] or pair["jumps"] or pair["orphans"] or pair["lost"])
            and not (pair["shm_bytes_left"] or pair["tmp_left"])
            for pair in pairs
        ),
    }
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "kill_resume.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.results / "kill_resume.md").write_text(kill_resume_report.page(record))
    print(kill_resume_report.table(record))
    return 0 if record["survived"] else 1


def one_seed(args: argparse.Namespace, seed: int, folder: Path) -> dict[str, Any]:
    """Return what became of both trainings with this seed, in plain JSON types."""
    shm_before = shm_bytes()
    whole, killed = WatchedRun(folder / "whole"), Killed(args, WatchedRun(folder / "killed"), random.Random(seed))
    pair: dict[str, Any] = {"seed": seed, "whole": None, "killed": None}
    try:
        whole.start(training(args, seed, whole.run_dir))
        failure = "" if to_its_end(whole) else f"the undisturbed run failed: {whole.last_words()}"
        failure = failure or killed.train(training(args, seed, killed.run.run_dir))
        if not failure:
            pair |= {"whole": result(whole.run_dir, args.episodes), "killed": result(killed.run.run_dir, args.episodes)}
    finally:
        orphans = killed.orphans + len(whole.orphans()) + len(killed.run.orphans())
        whole.end()
        killed.run.end()
    return pair | {
        "failure": failure,
        "kills": killed.kills,
        "jumps": killed.jumps,
        "lost": killed.lost,
        "orphans": orphans,
        "shm_bytes_left": shm_bytes() - shm_before,
        "tmp_left": whole.left_in_tmp() + killed.run.left_in_tmp(),
    }


def training(args: argparse.Namespace, seed: int, run_dir: Path) -> list[str]:
    """Return the words of the command that starts a training."""
    words = f"train native/simple_spread --algo mappo --seed {seed} --num-workers {WORKERS}"
    words += f" --num-envs-per-worker {ENVS // WORKERS}"
    words += f" --gamma 0.9 --trace-lambda 0.9 --epochs {EPOCHS} --lr {LR} --lr-schedule linear --eval-env-steps 0"
    words += f" --env-steps {args.env_steps} --final-eval-episodes 0 --log-seconds 0.25"
    words += f" --checkpoint-seconds {CHECKPOINT_SECONDS} --run-dir {run_dir}"
    return words.split()


def to_its_end(run: WatchedRun) -> bool:
    """Wait for a run's end as long as it goes on; False if it failed or stood still."""
    steps, deadline = 0, time.monotonic() + PATIENCE
    while not run.ends_within(0.5):
        run.family()
        if (now := run.record().get("env_steps", 0)) != steps:
            steps, deadline = now, time.monotonic() + PATIENCE
        if time.monotonic() > deadline:
            return False
    return run.process.returncode == 0


def result(run_dir: Path, episodes: int) -> dict[str, Any]:
    """Return what a finished run's last checkpoint scores and counts."""
    team = evaluate_run(run_dir, episodes=episodes, checkpoint="latest").to_json()["teams"]["agent"]
    score = {"metric": team["metric"], "score": team["mean"], "half_width": team["half_width"]}
    return score | asdict(state_of(run_dir))


@dataclass(frozen=True)
class State:
    """What a checkpoint counts."""

    env_steps: int
    """Env-steps since the start of the run."""
    agent_steps: int
    """Valid actions."""
    episodes: int
    """Finished ones."""
    seconds: float
    """Of training."""
    policy_version: int
    """Of the policy."""
    adam_steps: int
    """Gradient steps of the optimiser."""
    normaliser_samples: int
    """Observations that the normaliser has seen."""

    def jumps_to(self, after: State) -> list[str]:
        """Return what is wrong with `after` as a later state of the run that was resumed from this one."""
        grown = {f.name: getattr(after, f.name) - getattr(self, f.name) for f in fields(self)}
        wrong = [f"{name} went back by {-growth:g}" for name, growth in grown.items() if growth < 0]
        if grown["agent_steps"] != AGENTS * grown["env_steps"]:
            wrong.append(f"{grown['agent_steps']} agent-steps in {grown['env_steps']} env-steps")
        if abs(grown["episodes"] - grown["env_steps"] / LENGTH) > ENVS:  # each env is in the middle of one
            wrong.append(f"{grown['episodes']} episodes in {grown['env_steps']} env-steps")
        if grown["adam_steps"] > EPOCHS * grown["policy_version"]:
            wrong.append(f"{grown['adam_steps']} gradient steps in {grown['policy_version']} updates")
        if grown["normaliser_samples"] > grown["agent_steps"]:  # whatever is learned from was acted in this sitting
            wrong.append(f"{grown['normaliser_samples']} samples normalised of {grown['agent_steps']} agent-steps")
        if grown["env_steps"] and not (grown["adam_steps"] and grown["normaliser_samples"]):
            idle = grown["env_steps"] > 4096  # more than fills all slots
            wrong += ["nothing was learned"] if idle else []
        return wrong


def state_of(run_dir: Path) -> State:
    """Return what the newest whole checkpoint counts."""
    newest = checkpoint.latest(run_dir)
    state, policy = newest.run_state, newest.read_policy("agent")
    tensors = policy.algorithm_state["tensors"]
    steps = {int(tensor) for name, tensor in tensors.items() if name.endswith(".step")}
    return State(
        state["env_steps"],
        state["agent_steps"],
        state["counts"]["rollout"][ROLLOUT_COUNTS.index("episodes")],
        state["wall_seconds"],
        policy.policy_version,
        max(steps),
        int(tensors["obs_moments.count"]),
    )


def scheduled_lr(env_steps: int, budget: int) -> float:
    """Return the learning rate after so many env-steps: linear to 0."""
    return LR * max(0.0, 1.0 - env_steps / budget)


@dataclass
class Killed:
    """One training that is killed again and again."""

    args: argparse.Namespace
    run: WatchedRun
    rng: random.Random
    kills: list[dict[str, Any]] = field(default_factory=list)
    """Of each: when it came, what was recorded then, and the checkpoint that was there."""
    jumps: list[str] = field(default_factory=list)
    """Counters and schedules that did not go on from where they were."""
    lost: int = 0
    """Checkpoints that were complete before a kill and could not be read after it."""
    orphans: int = 0
    """Processes that outlived a killed main process."""
    _resumed: float = 0.0
    """`time.time()` at the start of the present sitting."""

    def train(self, words: list[str]) -> str:
        """Train, kill, resume. Returns what was not survived, or an empty string."""
        moments = sorted(self.rng.uniform(0.0, LAST_KILL) * self.args.env_steps for _ in range(self.args.kills))
        self._start(words)
        known = None
        for number, moment in enumerate(moments):
            early = number > 0 and self.rng.random() < EARLY
            if early:
                time.sleep(self.rng.uniform(0.0, START_SECONDS))
            came = early or self._comes_to(moment, known)
            code = self.run.process.poll()
            if code == 0:
                break  # it was quicker than we are: nothing is left to kill
            if code is not None or not came:
                return f"the run did not come to its kill {number + 1}: {self.run.last_words()}"
            known = self._kill(early, known)
            if known is None:
                return "no checkpoint could be read after a kill"
            if known.env_steps >= self.args.env_steps:
                return ""  # it was ending anyway: there is nothing to resume
            self._start(["resume", str(self.run.run_dir)])
        if not to_its_end(self.run):
            return f"the last sitting failed: {self.run.last_words()}"
        self._compare(known, state_of(self.run.run_dir))
        return ""

    def _start(self, words: list[str]) -> None:
        self._resumed = time.time()
        self.run.start(words)

    def _comes_to(self, env_steps: float, known: State | None) -> bool:
        """Wait until this sitting has recorded an update and so many env-steps, and up to a checkpoint's time more."""
        deadline, checked = time.monotonic() + PATIENCE, False
        while time.monotonic() < deadline and self.run.process.poll() is None:
            record = self._record()
            if (lr := record.get("learner/agent/lr")) is not None:
                if known is not None and not checked:
                    checked = True
                    self._check_lr(lr, known.env_steps, record["env_steps"])
                if record["env_steps"] >= env_steps:
                    time.sleep(self.rng.uniform(0.0, CHECKPOINT_SECONDS))
                    return True
            time.sleep(0.02)
        return False

    def _record(self) -> dict[str, Any]:
        """Return the newest record of this sitting: those of the one before stand there until it begins."""
        record = self.run.record()
        return record if record.get("time", 0.0) > self._resumed else {}

    def _check_lr(self, lr: float, since: int, now: int) -> None:
        first, last = (scheduled_lr(steps, self.args.env_steps) for steps in (since, now))
        if not last * 0.999 <= lr <= first * 1.001:
            self.jumps.append(f"after kill {len(self.kills)}: learning rate {lr:g}, not {first:g} to {last:g}")

    def _kill(self, early: bool, known: State | None) -> State | None:
        """Kill the main process, see what it leaves, and return the state that will be resumed; None without one."""
        there = checkpoint.checkpoint_paths(self.run.run_dir)
        self.run.kill()
        self.orphans += len(self.run.orphans())
        recorded = self._record()
        try:
            newest = checkpoint.latest(self.run.run_dir)
        except RunError:
            return None
        self.lost += bool(there) and newest.path.name < there[0].name
        state = state_of(self.run.run_dir)
        self.kills.append(
            {
                "moment": "start-up" if early and not recorded else "training",
                "env_steps": recorded.get("env_steps"),
                "env_steps_lost": max(0, recorded.get("env_steps", 0) - state.env_steps),
                "lr": recorded.get("learner/agent/lr"),
                "checkpoint": asdict(state),
            }
        )
        self._compare(known, state)
        return state

    def _compare(self, before: State | None, after: State) -> None:
        if before is None:  # it was never killed
            return
        self.jumps += [f"after kill {len(self.kills)}: {wrong}" for wrong in before.jumps_to(after)]


if __name__ == "__main__":
    sys.exit(main())
