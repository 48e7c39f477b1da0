"""The command `sfmarl`: which command, with which words. Words in, a call, an exit code out."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfmarl import __version__
from sfmarl.command.arguments import LeagueArguments, TrainArguments, parse, parse_run
from sfmarl.command.compare import compare
from sfmarl.command.doctor import doctor
from sfmarl.command.export import export
from sfmarl.command.launching import guarded, start
from sfmarl.command.play import play
from sfmarl.command.resume import resume
from sfmarl.command.sweep import sweep
from sfmarl.command.tournament import tournament
from sfmarl.command.tune import tune
from sfmarl.config import Config
from sfmarl.errors import UsageError, nearest
from sfmarl.user_code import import_user_code

HELP = """\
usage: sfmarl COMMAND ... [--debug]

Asynchronous multi-agent reinforcement learning on one machine.

  train ENV       train a team on an environment
  league ENV      train on a competitive game against a growing pool of past selves
  resume DIR      continue the run in DIR from its latest checkpoint (a series or a sweep: what is left of it)
  evaluate DIR    mean return of the run in DIR, with a 95 % interval
  tournament PLAYER...
                  have runs, their snapshots, scripts and MCTS play each other: win rates, ratings, who beats whom
  play DIR        play against the policy of the run in DIR yourself, in this terminal
  compare DIR...  learning curves and scores of several runs
  sweep ENV       search settings with Optuna
  tune ENV        choose workers, envs, placement and batch size for this machine
  export DIR      write a run's policies as TorchScript or ONNX
  doctor          look whether this machine and installation are fit for training
  check-env ENV   look whether an environment can be trained on, and how it is understood
  list            algorithms, environments and more that are known by name

  sfmarl COMMAND --help   flags of one command (train's depend on --algo)
  sfmarl --version        version of this package
  --debug                 show the traceback of an error (also SFMARL_DEBUG=1)

Try: sfmarl train mpe2.simple_spread_v3 --env-kwargs N=3 --algo mappo
Exit codes: 0 done, 1 the run failed, 2 the request cannot be carried out, 130 or 143 interrupted.
"""


@dataclass
class EvaluateArguments:
    """Play episodes with a run's policies: mean return with a 95 % interval, per team and per agent."""

    run_dir: Path
    """Run directory of an earlier `sfmarl train`."""
    episodes: int = 200
    """Episodes to play."""
    greedy: bool = True
    """Take the most likely action (`--no-greedy` samples)."""
    seed: int = 0
    """Seed of environments and sampled actions."""
    random_baseline: bool = False
    """Also play as many episodes with random legal actions."""
    checkpoint: str = "best"
    """Which checkpoint: best | latest | a checkpoint's name or path."""
    device: str = "cpu"
    """Device of the policies: cpu | cuda | cuda:1."""
    imports: tuple[str, ...] | None = None
    """Modules or .py files to import instead of those that the run's config.json names."""
    gif: Path | None = None
    """Write one episode as an animation to this file (the environment must render)."""
    json: bool = False
    """Print one JSON object instead of a table."""


@dataclass
class CheckEnvArguments:
    """Look whether an environment can be trained on, and how its agents, spaces and teams are understood."""

    env: str
    """Environment: `package.module` (mpe2.simple_spread_v3), `module:callable`, or a known name (`sfmarl list`)."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment: `N=3 max_cycles=25` or one JSON object."""
    teams: str = "auto"
    """Who acts with one policy: auto | each | all | a JSON object {team: [agents]}."""
    policies: dict[str, str] = field(default_factory=dict)
    """Team -> policy name, as for train: do they fit?"""
    frame_stack: int = 1
    """Latest observations that an agent sees side by side."""
    imports: tuple[str, ...] = ()
    """Your own modules or .py files, imported first."""
    seconds: float = 10.0
    """Time for all checks together; an environment's steps are never interrupted, and building it comes on top."""
    json: bool = False
    """Print one JSON object instead of sentences."""


@dataclass
class ListArguments:
    """List what is known by name: algorithms, environments, callbacks, rewards, metrics, scripts."""

    imports: tuple[str, ...] = ()
    """Your own modules or .py files, imported first: what they register is listed, too."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named by `argv` (default: the process's arguments) and return its exit code.

    A wrong flag, and `--help` after a command, raise SystemExit as argparse does.
    """
    return guarded(_dispatch, sys.argv[1:] if argv is None else argv)


def _dispatch(words: Sequence[str]) -> int:
    name, *rest = words or ["--help"]
    if name in ("-h", "--help"):
        print(HELP, end="")
        return 0
    if name == "--version":
        print(f"sfmarl {__version__}")
        return 0
    if name not in _COMMANDS:
        raise UsageError(f"{name!r} is no command.{nearest(name, _COMMANDS)} See sfmarl --help.")
    return _COMMANDS[name](rest)


def _train(words: Sequence[str]) -> int:
    return start(parse_run(TrainArguments, words, prog="sfmarl train"), words)


def _league(words: Sequence[str]) -> int:
    return start(parse_run(LeagueArguments, words, prog="sfmarl league"), words)


def _evaluate(words: Sequence[str]) -> int:
    arguments = parse(EvaluateArguments, words, prog="sfmarl evaluate")
    from sfmarl.evaluation.evaluate import evaluate_run

    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    evaluation = evaluate_run(**settings)
    print(json.dumps(evaluation.to_json()) if arguments.json else evaluation)
    return 0


def _check_env(words: Sequence[str]) -> int:
    arguments = parse(CheckEnvArguments, words, prog="sfmarl check-env")
    from sfmarl.envs.check import check_env

    if not (arguments.seconds > 0 and arguments.frame_stack >= 1):
        raise UsageError("check-env needs --seconds above 0 and a --frame-stack of at least 1.")
    settings = {name: value for name, value in vars(arguments).items() if name not in ("seconds", "json")}
    # what an environment prints is not part of the report
    with contextlib.redirect_stdout(sys.stderr):
        report = check_env(Config(**settings), arguments.seconds)
    print(json.dumps(report.to_json()) if arguments.json else "\n".join(report.lines()))
    return 0 if report.ok else 1


def _list(words: Sequence[str]) -> int:
    import_user_code(parse(ListArguments, words, prog="sfmarl list").imports)
    from sfmarl.algorithms import ALGORITHMS
    from sfmarl.envs.registry import list_envs
    from sfmarl.envs.script import SCRIPTS
    from sfmarl.league.matchmakers import MATCHMAKERS
    from sfmarl.league.pool import EVICTION
    from sfmarl.models.custom import MODELS
    from sfmarl.monitor.metrics import USER_METRICS
    from sfmarl.run.callbacks import CALLBACKS
    from sfmarl.workers.shaping import REWARDS

    for title, entries in (
        ("algorithms", ALGORITHMS.entries()),
        ("environments", list_envs()),
        ("callbacks", CALLBACKS.entries()),
        ("models", MODELS.entries()),
        ("rewards", REWARDS.entries()),
        ("metrics", USER_METRICS.entries()),
        ("matchmakers", MATCHMAKERS.entries()),
        ("eviction rules", EVICTION.entries()),
        ("scripts", SCRIPTS.entries()),
    ):
        width = max((len(name) for name, _ in entries), default=0)
        lines = [f"  {name:<{width}}  {description}".rstrip() for name, description in entries]
        print(f"{title}:", *(lines or ["  none but what your own modules register (--imports)"]), sep="\n")
    print("Any package.module with a parallel_env, and any module:callable, is an environment too.")
    return 0


_COMMANDS = {
    "train": _train,
    "league": _league,
    "resume": resume,
    "evaluate": _evaluate,
    "tournament": tournament,
    "play": play,
    "compare": compare,
    "sweep": sweep,
    "tune": tune,
    "export": export,
    "doctor": doctor,
    "check-env": _check_env,
    "list": _list,
}
