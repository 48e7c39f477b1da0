"""What can be wrong with a run's settings, told before anything is built."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import torch

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config, LeagueConfig
from sfmarl.envs.infos import parse_info_metrics
from sfmarl.errors import UsageError
from sfmarl.league.matchmakers import make_matchmaker
from sfmarl.league.meta import make_meta_strategy
from sfmarl.league.pool import make_eviction_rule
from sfmarl.run.plan import MOST_INFERENCE_WORKERS, MOST_WORKERS
from sfmarl.setting_types import check_types
from sfmarl.workers.shaping import find_shape

_AT_LEAST: dict[str, float] = {
    "frame_stack": 1,
    "seed": 0,
    "env_steps": 1,
    "wall_seconds": 0,
    "num_workers": 0,
    "num_envs_per_worker": 1,
    "num_splits": 1,
    "num_inference_workers": 1,
    "rollout": 1,
    "ring": 2,
    "batch_size": 0,
    "max_policy_lag": 0,
    "eval_env_steps": 0,
    "eval_episodes": 1,
    "final_eval_episodes": 0,
    "keep_checkpoints": 1,
    "learner_threads": 0,
    "max_restarts": 0,
    "hang_seconds": 0,
    "max_worker_gib": 0,
    "max_skipped_updates": 0,
    "max_env_faults": 0,
}
_AT_MOST: dict[str, int] = {
    "frame_stack": 1_000,
    "num_workers": MOST_WORKERS,
    "num_inference_workers": MOST_INFERENCE_WORKERS,
    "learner_threads": 1_000,
    "live_snapshots": 10_000,
}
"""Beyond these a slip of the pen is likelier than a wish: even the plan of such a run would take minutes. Of workers
there cannot be more."""
_POSITIVE = ("checkpoint_seconds", "log_seconds")


def validate(config: Config, *, new_run: bool = True) -> None:
    """Check settings that need no environment: types, names, ranges, combinations.

    `new_run` also asks that the run directory is not taken; a resumed run has one.
    Raises UsageError that names the setting, what it is, and what it may be.
    """
    _check_mappings(config)
    check_types(config)
    _check_ranges(config)
    _check_hyperparameters(config)
    _check_device(config)
    if not config.env.strip():
        raise UsageError("no environment is named. Give one, e.g. mpe2.simple_spread_v3 (`sfmarl list`).")
    _check_inference(config)
    if config.num_envs_per_worker % config.num_splits:
        raise UsageError(
            f"num_envs_per_worker = {config.num_envs_per_worker} cannot be divided over "
            f"num_splits = {config.num_splits}. Take a multiple of {config.num_splits}."
        )
    if config.stop_score is not None and config.eval_env_steps == 0:
        raise UsageError(
            "stop_score is compared with periodic evaluations, and eval_env_steps = 0 turns them off. "
            "Set eval_env_steps, or leave stop_score out."
        )
    if config.death == "masked" and config.team_reward == "env":
        raise UsageError(
            "death = masked lets the return of a dead agent go on, but with team_reward = env it would earn nothing: "
            "environments reward only the living. Take team_reward = sum or mean, or death = terminal."
        )
    if config.league is not None:
        _check_league(config.league)
    _check_words(config)
    _check_user_code(config)
    if new_run and config.run_dir is not None:
        _check_free(config.run_dir)


def _check_league(league: Any) -> None:
    if not isinstance(league, LeagueConfig):
        raise UsageError(f"league is a {type(league).__name__}: give a LeagueConfig, or None.")
    check_types(league)
    for setting, least in (("snapshot_env_steps", 1), ("live_snapshots", 1), ("pool_size", 2)):
        if getattr(league, setting) < least:
            raise UsageError(f"{setting} = {getattr(league, setting)} is too small: it must be at least {least}.")
    _check_most(league)
    for setting in ("self_play", "snapshot_win_rate", "evaluation_share"):
        if not 0.0 <= getattr(league, setting) <= 1.0:
            raise UsageError(f"{setting} = {getattr(league, setting)} must lie in [0, 1].")
    if league.evaluation_share == 1.0:
        raise UsageError("evaluation_share = 1 leaves no match in which somebody learns. Take less.")
    if not 0.0 < league.payoff_decay <= 1.0:
        raise UsageError(f"payoff_decay = {league.payoff_decay} must lie in (0, 1].")
    if not (league.elo_k > 0 and math.isfinite(league.elo_k)):
        raise UsageError(f"elo_k = {league.elo_k}: with it ratings never move, or at once without bound. Try 16.")
    if league.board_seconds < 0:
        raise UsageError(f"board_seconds = {league.board_seconds} is negative. 0 draws pictures only at the end.")
    make_matchmaker(league.matchmaker)
    make_meta_strategy(league.meta_strategy)
    make_eviction_rule(league.eviction)


def _check_words(config: Config) -> None:
    """Check the settings that are a word or a JSON object, as far as that goes without the environment's agents."""
    if config.teams not in ("auto", "each", "all"):
        _json_object("teams", config.teams, "auto, each, all, or a JSON object {team: [agents]}")
    if config.sharing not in ("full", "none"):
        roles = _json_object("sharing", config.sharing, "full, none, or a JSON object {agent: role}")
        for agent, role in roles.items():
            if not isinstance(role, str):
                raise UsageError(f"sharing: the role of {agent!r} must be a name, got {role!r}.")


def _check_user_code(config: Config) -> None:
    """Check what names the user's code; callbacks are looked up when they are built."""
    if config.reward:
        find_shape(config.reward)
    parse_info_metrics(config.info_metrics)


def _json_object(setting: str, text: str, legal: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{setting} = {text!r} is neither a known word nor JSON ({error}). Use {legal}.") from error
    if not isinstance(value, dict) or not value:
        raise UsageError(f"{setting} = {text!r} is not a filled JSON object. Use {legal}.")
    return value


def _check_mappings(config: Config) -> None:
    for setting in ("imports", "callbacks", "info_metrics"):
        for word in getattr(config, setting):
            if not isinstance(word, str) or not word:
                raise UsageError(f"{setting}: {word!r} is no name.")
    for setting in ("env_kwargs", "policies", "init_from"):
        mapping = getattr(config, setting)
        for key, value in mapping.items() if isinstance(mapping, dict) else ():
            if not isinstance(key, str) or (setting != "env_kwargs" and not isinstance(value, str)):
                raise UsageError(f"{setting}: {key!r} = {value!r} must have a string key (and a string as value).")
    try:
        json.dumps(config.env_kwargs)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"env_kwargs must be plain JSON values, because the run directory records them: {error}. "
            "For anything else write a function that builds the environment and name it as module:callable."
        ) from error


def _check_ranges(config: Config) -> None:
    for setting, least in _AT_LEAST.items():
        if getattr(config, setting) < least:
            raise UsageError(f"{setting} = {getattr(config, setting)} is too small: it must be at least {least}.")
    _check_most(config)
    for setting in _POSITIVE:
        if getattr(config, setting) <= 0:
            raise UsageError(f"{setting} = {getattr(config, setting)} must be greater than 0 seconds.")


def _check_most(settings: Config | LeagueConfig) -> None:
    for setting, most in _AT_MOST.items():
        if getattr(settings, setting, 0) > most:
            raise UsageError(f"{setting} = {getattr(settings, setting)} is too large: it may be {most} at most.")


def _check_hyperparameters(config: Config) -> None:
    entry = get_algorithm(config.algo)
    expected = type(entry.hyperparameters())
    if config.hp is not None and not isinstance(config.hp, expected):
        raise UsageError(
            f"hp is a {type(config.hp).__name__}, but algorithm {config.algo!r} takes {expected.__name__}. "
            "Leave hp out for the preset's."
        )
    if config.hp is not None:
        check_types(config.hp)


def _check_device(config: Config) -> None:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", config.device):
        raise UsageError(f"device = {config.device!r} is unknown. Use auto, cpu, cuda, or cuda:1 for the second GPU.")
    if not config.device.startswith("cuda"):
        return
    if config.mode == "serial":
        raise UsageError("mode = serial runs on the CPU, so that weights are bit-identical. Use device auto or cpu.")
    index = int(config.device.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise UsageError(
            f"device = {config.device!r}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices. "
            "Use device auto or cpu, or install a driver and a torch build that fit."
        )


def _check_inference(config: Config) -> None:
    if config.inference != "local":
        return
    if config.device.startswith("cuda"):
        raise UsageError(
            f"inference = local computes actions inside the rollout workers, on the CPU, but device = {config.device}. "
            "Take inference = worker, whose forward passes run on the GPU, or device = cpu."
        )
    if config.num_inference_workers != 1:
        raise UsageError(
            f"num_inference_workers = {config.num_inference_workers}, but with inference = local there are none. "
            "Leave it out, or take inference = worker."
        )


def _check_free(run_dir: Path) -> None:
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise UsageError(
            f"run directory {run_dir} exists already. Choose another --run-dir, or continue it: sfmarl resume {run_dir}"
        )
    above = next(path for path in (run_dir, *run_dir.absolute().parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UsageError(
            f"run directory {run_dir} cannot be created: {above} takes no new files. Choose another --run-dir."
        )
