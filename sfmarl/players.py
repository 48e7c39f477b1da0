"""Who plays: for every policy of a run, how it learns, or that it does not learn.

{}                                     learns with the run's algorithm and hyperparameters
{"algo": "ippo", "lr": 1e-3, ...}      learns with its own
{"frozen": "runs/earlier", ...}        acts with the weights of another run and does not learn
{"script": "module:callable"}          acts as a Python callable says
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config
from sfmarl.envs.script import ScriptedPlayer
from sfmarl.errors import UsageError, nearest
from sfmarl.fit import differences
from sfmarl.seeding import seed_for
from sfmarl.specs import EnvSpec, TeamSpec
from sfmarl.storage.checkpoint import PolicyState, open_checkpoint
from sfmarl.storage.config_file import from_json


@dataclass(frozen=True)
class Learning:
    """A policy that learns."""

    algo: str
    """Name of its algorithm preset."""
    hp: Any
    """Its hyperparameters."""


@dataclass(frozen=True)
class Frozen:
    """A policy that acts with fixed weights."""

    source: Path
    """Run or checkpoint directory the weights come from."""
    checkpoint: str
    """`best`, `latest`, or a name."""
    policy: str
    """Its name there; empty: the only one, or the one that plays the team of the same name."""


@dataclass(frozen=True)
class Script:
    """A Python callable that acts (envs/script.py)."""

    call: str
    """`module:callable`, or `random`."""


Player = Learning | Frozen | Script


def resolve_players(config: Config, env: EnvSpec) -> dict[str, Player]:
    """Return every policy of the run by name, in the order of the first teams they play.

    Raises UsageError for settings of unknown policies, unknown or contradicting settings, and when nobody learns.
    """
    names = list(dict.fromkeys(config.policies.get(team.name, team.name) for team in env.teams))
    for name in config.players:
        if name not in names:
            raise UsageError(
                f"players has settings for {name!r}, but the policies are {', '.join(names)}.{nearest(name, names)}"
            )
    players = {name: _player(config, name, config.players.get(name, {})) for name in names}
    if not any(isinstance(player, Learning) for player in players.values()):
        raise UsageError("players leaves nobody who learns: every policy is frozen or a script.")
    return players


def learning_player(config: Config, name: str) -> Learning:
    """Return how the policy `name` learns. Raises UsageError for unknown settings, and for one that does not learn."""
    player = _player(config, name, config.players.get(name, {}))
    if not isinstance(player, Learning):
        raise UsageError(f"players: {name!r} has to learn.")
    return player


def learning_teams(config: Config, env: EnvSpec) -> list[TeamSpec]:
    """Return the teams of `env` whose policy learns, in their order."""

    def learns(team: TeamSpec) -> bool:
        settings = config.players.get(config.policies.get(team.name, team.name), {})
        return "frozen" not in settings and "script" not in settings

    return [team for team in env.teams if learns(team)]


def leading_team(config: Config, env: EnvSpec) -> TeamSpec:
    """Return the first team whose policy learns (the first, if none does): whose return says how well it does."""
    return next(iter(learning_teams(config, env)), env.teams[0])


def _player(config: Config, name: str, settings: Any) -> Player:
    if not isinstance(settings, Mapping):
        raise UsageError(f"players: the settings of {name!r} must be a JSON object, got {settings!r}.")
    kinds = [kind for kind in ("frozen", "script") if kind in settings]
    if not kinds:
        return _learning(config, name, settings)
    legal = {"frozen": ("frozen", "checkpoint", "policy"), "script": ("script",)}[kinds[0]]
    for key, value in settings.items():
        if key not in legal:
            raise UsageError(
                f"players: {name!r} is {kinds[0]}, so {key!r} has no meaning; it takes {', '.join(legal)}."
            )
        if not isinstance(value, str) or not value:
            raise UsageError(f"players: {key} of {name!r} must be a string, got {value!r}.")
    if kinds[0] == "script":
        return Script(settings["script"])
    return Frozen(Path(settings["frozen"]), settings.get("checkpoint", "best"), settings.get("policy", ""))


def _learning(config: Config, name: str, settings: Mapping[str, Any]) -> Learning:
    algo = settings.get("algo", config.algo)
    if not isinstance(algo, str):
        raise UsageError(f"players: algo of {name!r} must be a name, got {algo!r}.")
    base = config.hp if algo == config.algo and config.hp is not None else get_algorithm(algo).hyperparameters()
    known = {f.name for f in fields(base)}
    for key in settings.keys() - {"algo"}:
        if key not in known:
            raise UsageError(
                f"players: {name!r} has no setting {key!r}.{nearest(key, known | {'algo', 'frozen', 'script'})} "
                f"It takes algo and the hyperparameters of {algo}, or frozen, or script."
            )
    own = {key: value for key, value in settings.items() if key != "algo"}
    hp = from_json(type(base), {f.name: getattr(base, f.name) for f in fields(base)} | own, f"players: {name!r}")
    return Learning(algo, replace(hp))


def load_frozen(name: str, player: Frozen, teams: list[TeamSpec]) -> PolicyState:
    """Read the weights of a frozen policy that is to play `teams`.

    Raises UsageError when there is no such policy, or when it was trained for other observations, actions or agents;
    RunError when its checkpoint is damaged.
    """
    opened = open_checkpoint(player.source, player.checkpoint)
    names = opened.policy_names
    there = player.policy or next(
        (seat.policy for team, seat in opened.teams.items() if team in {t.name for t in teams}),
        names[0] if len(names) == 1 else "",
    )
    if there not in names:
        raise UsageError(
            f"players: {opened.path} holds {', '.join(names)}; say which of them {name!r} is: "
            f'{{"frozen": "{player.source}", "policy": "{names[0]}"}}.'
        )
    state = opened.read_policy(there)
    for team in teams:
        if wrong := differences(team, state.spec):
            raise UsageError(
                f"players: policy {there!r} of {opened.path} cannot play team {team.name!r}: {'; '.join(wrong)}. "
                "Freeze a policy that was trained on this environment."
            )
    return replace(state, spec=replace(state.spec, name=name))


def scripted_teams(config: Config, env: EnvSpec, seed: int) -> dict[str, ScriptedPlayer]:
    """Return who plays each team of `env` that a script plays; `seed` is that of their draws. Raises UsageError."""
    if config.league is not None:
        return {}  # its scripts sit in the matches of the run alone
    players = resolve_players(config, env)
    found = {}
    for team in env.teams:
        player = players[config.policies.get(team.name, team.name)]
        if isinstance(player, Script):
            found[team.name] = ScriptedPlayer(player.call, team, seed_for(seed, "script", team.name))
    return found


def frozen_from(players: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Return `players` with frozen policies read from `checkpoint`, one of the run's own, under their own names."""

    def own(name: str, settings: Any) -> Any:
        is_frozen = isinstance(settings, Mapping) and "frozen" in settings
        return {"frozen": str(checkpoint), "policy": name} if is_frozen else settings

    return {name: own(name, settings) for name, settings in players.items()}
