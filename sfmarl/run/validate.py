"""What can be wrong with a run's settings, told before anything is built."""

from __future__ import annotations

import json
import math
import re
import types
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config, LeagueConfig
from sfmarl.envs.infos import parse_info_metrics
from sfmarl.errors import UsageError
from sfmarl.league.matchmakers import make_matchmaker
from sfmarl.league.meta import make_meta_strategy
from sfmarl.league.pool import make_eviction_rule
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
    "max_skipped_updates": 0,
    "max_env_faults": 0,
}
_POSITIVE = ("checkpoint_seconds", "log_seconds")


def validate(config: Config, *, new_run: bool = True) -> None:
    """Check settings that need no environment: types, names, ranges, combinations.

    `new_run` also asks that the run directory is not taken; a resumed run has one.
    Raises UsageError that names the setting, what it is, and what it may be.
    """
    check_types(config)
    _check_mappings(config)
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
    except json.JSONDecodeError as error:
        raise UsageError(f"{setting} = {text!r} is neither a known word nor JSON ({error}). Use {legal}.") from error
    if not isinstance(value, dict) or not value:
        raise UsageError(f"{setting} = {text!r} is not a filled JSON object. Use {legal}.")
    return value


def check_types(settings: Any) -> None:
    """Compare a dataclass's values with its annotations (the elements of containers are not looked at).

    Raises UsageError that names the setting and what it may be.
    """
    hints = get_type_hints(type(settings))
    for f in fields(settings):
        value = getattr(settings, f.name)
        if not _fits(value, hints[f.name]):
            legal = get_args(hints[f.name])
            expected = " | ".join(map(str, legal)) if get_origin(hints[f.name]) is Literal else f.type
            raise UsageError(f"{f.name} = {value!r} ({type(value).__name__}) is not of the expected kind: {expected}.")


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


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return value in get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _check_ranges(config: Config) -> None:
    for setting, least in _AT_LEAST.items():
        if getattr(config, setting) < least:
            raise UsageError(f"{setting} = {getattr(config, setting)} is too small: it must be at least {least}.")
    for setting in _POSITIVE:
        if getattr(config, setting) <= 0:
            raise UsageError(f"{setting} = {getattr(config, setting)} must be greater than 0 seconds.")


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
