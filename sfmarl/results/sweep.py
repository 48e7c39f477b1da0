"""A sweep: Optuna proposes settings, each trial is a run, and the best final evaluation wins.

    SWEEP/sweep.json          the settings that all trials share, what is searched, how many trials
    SWEEP/study.log           Optuna's journal (JSON lines): proposals, periodic evaluations, scores
    SWEEP/trial-NNN/          a run directory like any other
    SWEEP/trials.json, .txt   every trial's values and score, written anew after each
    SWEEP/best-config.json    settings of the best trial, for `sfmarl train --config`

A trial whose periodic evaluation falls below the median of the earlier trials' at the same point is stopped.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config, default_run_dir
from sfmarl.errors import RunError, SfmarlError, UsageError
from sfmarl.results.search_space import Dimension, applied, parse_search
from sfmarl.results.series import required, wanted
from sfmarl.results.sweep_result import SweepResult, Trial, plain
from sfmarl.run.runner import TrainResult, check_run, resume, train
from sfmarl.seeding import seed_for
from sfmarl.statistics import Interval
from sfmarl.storage.checkpoint import checkpoint_paths
from sfmarl.storage.config_file import config_from_json, config_to_json, write_config
from sfmarl.storage.durable import dump_json, replace_file
from sfmarl.storage.lock import locked, make_run_dir
from sfmarl.user_code import absolute, import_user_code

if TYPE_CHECKING:
    import optuna

SWEEP = "sweep.json"
"""What makes a directory a sweep."""
STUDY = "study.log"

STARTUP_TRIALS = 5
"""Trials before the sampler learns from them and before one may be stopped early."""
PATIENCE = 3
"""Failed trials without any success after which the sweep gives up."""


def is_sweep(path: Path) -> bool:
    """Whether `path` is the directory of a sweep."""
    return os.path.isfile(path / SWEEP)  # whoever reads what cannot be looked at says why


def default_sweep_dir(config: Config) -> Path:
    """Return runs/ENV-ALGO-sweep-TIME under the working directory."""
    single = default_run_dir(config)
    return single.with_name(single.name.replace(f"-s{config.seed}-", "-sweep-"))


def sweep(config: Config, search: Mapping[str, str], trials: int = 20, prune: bool = True) -> SweepResult:
    """Train `trials` runs of `config` with searched settings (`search_space.parse_search`); scores are maximised.

    `prune` stops trials whose periodic evaluations are below the median. Raises UsageError before anything is written;
    RunError when no trial succeeds; KeyboardInterrupt after Ctrl-C: `resume_sweep` goes on.
    """
    _require_optuna()
    config = replace(config, imports=absolute(config.imports))
    import_user_code(config.imports)
    config = replace(config, hp=config.hp or get_algorithm(config.algo).hyperparameters())
    if not config.final_eval_episodes:
        raise UsageError("a sweep compares final evaluations, and final_eval_episodes = 0. Give it some episodes.")
    parse_search(search, config)
    _check_trials(trials)
    check_run(config)
    run_dir = config.run_dir or default_sweep_dir(config)
    make_run_dir(run_dir)
    with locked(run_dir):
        if is_sweep(run_dir):
            raise UsageError(f"{run_dir} holds a sweep already. Continue it: sfmarl resume {run_dir}")
        config = replace(config, run_dir=run_dir)
        # pairs: JSON objects are written sorted, and the order of columns is the caller's
        about = {"config": config_to_json(config), "search": list(search.items()), "trials": trials, "prune": prune}
        with required(run_dir / SWEEP):
            replace_file(run_dir / SWEEP, dump_json(about))
        return _Sweep(config, parse_search(search, config), prune).run(trials)


def resume_sweep(run_dir: str | Path, trials: int | None = None, quiet: bool = False) -> SweepResult:
    """Go on with the sweep in `run_dir`, first with the trial that was interrupted; `trials` is a new total.

    Raises as `sweep` does, and UsageError when there is no sweep or nothing left to do.
    """
    _require_optuna()
    run_dir = Path(run_dir)
    path = run_dir / SWEEP
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        search, total, prune = dict(about["search"]), trials or about["trials"], about["prune"]
    except FileNotFoundError:
        raise UsageError(f"{run_dir} is not a sweep: it has no {SWEEP}.") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read: {error}. Restore it from a copy of the directory.") from error
    config = replace(config_from_json(about["config"], path), run_dir=run_dir)
    _check_trials(total)
    with locked(run_dir):
        with wanted(path):
            replace_file(path, dump_json({**about, "trials": total}))
        return _Sweep(replace(config, quiet=quiet or config.quiet), parse_search(search, config), prune).run(total)


class _Sweep:
    """The study and its runs."""

    def __init__(self, config: Config, dimensions: list[Dimension], prune: bool) -> None:
        self._config, self._dimensions, self._run_dir = config, dimensions, config.run_dir
        self._prune = prune and config.eval_env_steps > 0
        self._failure = "see above"
        self._study = _open_study(config, prune)

    def run(self, total: int) -> SweepResult:
        """Train until there are `total` trials."""
        import optuna

        if len(self._study.trials) >= total and not any(not t.state.is_finished() for t in self._study.trials):
            raise UsageError(f"{self._run_dir} has its {total} trials. Raise --trials to go on.")
        for unfinished in self._study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            self._finish(unfinished)
        while len(self._study.trials) < total:
            with required(self._run_dir / STUDY), self._appended():
                trial = self._study.ask()
                values = {dimension.name: dimension.suggest(trial) for dimension in self._dimensions}
            self._attempt(trial.number, values, trial)
            self._give_up_if_hopeless()
        return self._write()

    def _finish(self, unfinished: optuna.trial.FrozenTrial) -> None:
        """Go on with a trial that an earlier sitting left; nothing judges it any more."""
        import optuna

        if unfinished.params.keys() != {dimension.name for dimension in self._dimensions}:
            self._tell(unfinished.number, state=optuna.trial.TrialState.FAIL)  # killed while it was proposed
            return
        self._attempt(unfinished.number, self._values(unfinished), None)

    def _attempt(self, number: int, values: dict[str, Any], trial: optuna.Trial | None) -> None:
        """Train one trial and tell the study what became of it."""
        import optuna

        if not self._config.quiet:
            print(f"trial {number}: " + " ".join(f"{k}={plain(v)}" for k, v in values.items()), flush=True)
        try:
            result = self._train(self._trial_dir(number), values, trial)
        except SfmarlError as error:
            print(f"trial {number} failed: {error}", flush=True)
            self._failure = str(error)
            self._tell(number, state=optuna.trial.TrialState.FAIL)
        except KeyboardInterrupt:
            print(f"interrupted at trial {number}; the sweep goes on with: sfmarl resume {self._run_dir}", flush=True)
            raise
        else:
            evaluation = result.summary["evaluation"]
            if evaluation is None:
                self._tell(number, state=optuna.trial.TrialState.PRUNED)
            else:
                self._tell(number, evaluation["score"])
        finally:
            self._write()

    def _train(self, path: Path, values: dict[str, Any], trial: optuna.Trial | None) -> TrainResult:
        if (summary := _summary_of(path)) and summary["evaluation"]:
            return TrainResult(path, summary)  # it was over before the study was told
        if checkpoint_paths(path):
            return resume(path)
        shutil.rmtree(path, ignore_errors=True)  # killed before its first checkpoint
        judge = self._judge(trial) if trial is not None and self._prune else None
        return train(replace(applied(self._config, values), run_dir=path), judge=judge)

    def _judge(self, trial: optuna.Trial) -> Any:
        number = 0

        def judge(env_steps: int, score: float) -> str | None:
            # trials are evaluated at slightly different env-steps: it is the number of the evaluation that compares
            nonlocal number
            number = max(number + 1, env_steps // self._config.eval_env_steps)
            with wanted(self._run_dir / STUDY), self._appended():
                trial.report(score, number)
            return "pruned by the sweep" if trial.should_prune() else None

        return judge

    def _tell(self, number: int, score: float | None = None, state: optuna.trial.TrialState | None = None) -> None:
        with required(self._run_dir / STUDY), self._appended():
            self._study.tell(number, score, state)

    @contextlib.contextmanager
    def _appended(self) -> Iterator[None]:
        """Have lines of the study whole or absent."""
        try:
            yield
        except OSError:
            _drop_half_a_line(self._run_dir / STUDY)
            raise

    def _give_up_if_hopeless(self) -> None:
        states = [trial.state.name for trial in self._study.trials]
        if states.count("FAIL") >= PATIENCE and set(states) == {"FAIL"}:
            raise RunError(f"all {len(states)} trials failed, the last one because: {self._failure}")

    def _trial_dir(self, number: int) -> Path:
        return self._run_dir / f"trial-{number:03d}"

    def _values(self, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        return {d.name: d.stored(trial.params[d.name]) for d in self._dimensions if d.name in trial.params}

    def _write(self) -> SweepResult:
        """Write and return the table of all trials, and the best one's settings."""
        done = []
        for trial in self._study.trials:
            if trial.state.is_finished():
                path = self._trial_dir(trial.number)
                score = _score(path) if trial.state.name == "COMPLETE" else None
                done.append(Trial(trial.number, self._values(trial), trial.state.name.lower(), score, path))
        result = SweepResult(self._run_dir, done)
        with wanted(self._run_dir / "trials.json"):
            replace_file(self._run_dir / "trials.json", dump_json([trial.to_json() for trial in done]))
        with wanted(self._run_dir / "trials.txt"):
            replace_file(self._run_dir / "trials.txt", f"{result}\n".encode())
        if result.best is not None:
            best = replace(applied(self._config, result.best.values), run_dir=None)
            with wanted(self._run_dir / "best-config.json"):
                write_config(best, self._run_dir / "best-config.json")
        return result


def _open_study(config: Config, prune: bool) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = config.run_dir / STUDY
    begun = path.stat().st_size if path.exists() else 0
    try:
        _drop_half_a_line(path)
        backend = optuna.storages.journal.JournalFileBackend(str(path))
        return optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name="sweep",
            direction="maximize",
            load_if_exists=True,
            # a resumed sweep draws a stream of its own
            sampler=optuna.samplers.TPESampler(
                seed=seed_for(config.seed, "sweep", begun), n_startup_trials=STARTUP_TRIALS
            ),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
            if prune
            else optuna.pruners.NopPruner(),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} cannot be used: {error}. Restore it from a copy of the directory.") from error


def _drop_half_a_line(path: Path) -> None:
    """Cut off what a full disk took of a last line: what is appended next would become part of it."""
    if path.exists() and not (whole := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, whole.rfind(b"\n") + 1)


def _summary_of(path: Path) -> dict[str, Any] | None:
    """Return a trial's `summary.json`; None while there is none."""
    try:
        return json.loads((path / "summary.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _score(path: Path) -> Interval:
    """Return what the final evaluation of a complete trial scored; of several teams' mean without an interval."""
    evaluation = _summary_of(path)["evaluation"]
    scored = evaluation["scored"]
    if len(scored) == 1:
        return Interval.from_json(evaluation["teams"][scored[0]])
    return Interval(evaluation["score"], math.nan, evaluation["episodes"])


def _check_trials(trials: int) -> None:
    if trials < 1:
        raise UsageError(f"trials = {trials}: a sweep needs at least one.")


def _require_optuna() -> None:
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("a sweep needs Optuna: pip install 'sfmarl[sweep]'.")
