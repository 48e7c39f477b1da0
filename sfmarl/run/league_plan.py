"""A league's players, from its settings: who learns, who acts as a script, and whether they can sit in every seat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from torch import nn

from sfmarl.config import Config
from sfmarl.envs.script import find_script
from sfmarl.errors import UsageError, nearest
from sfmarl.fit import differences
from sfmarl.league.roles import ROLES
from sfmarl.league.snapshot import CLASS, canonical
from sfmarl.league.snapshot import differences as architectures_differ
from sfmarl.memory.match_table import TableSpec
from sfmarl.models.actor import Actor
from sfmarl.players import Learning, learning_player
from sfmarl.specs import EnvSpec, PolicySpec


def league_players(config: Config, env: EnvSpec) -> dict[str, Learning]:
    """Return how each learning player of the league learns, by name.

    Raises UsageError for a game that is none (a single team, teams that are not alike), scripts that cannot be found,
    and settings that a league gives no meaning to.
    """
    if len(env.teams) < 2:
        raise UsageError(
            f"a league needs at least two teams that play against each other, and {config.env} has only "
            f"{env.teams[0].name!r}. Opponents that share a team are told apart with --teams each."
        )
    first = env.teams[0]
    for team in env.teams[1:]:
        if len(team.agents) != len(first.agents) or differences(team, first):
            raise UsageError(
                f"in a league every player takes every seat, but the teams {first.name!r} and {team.name!r} of "
                f"{config.env} are not alike: {'; '.join(differences(team, first)) or 'they differ in size'}."
            )
    if config.policies:
        raise UsageError("in a league seats are filled per match: leave out policies, and name players in roles.")
    roles = config.league.roles
    for name in config.players.keys() - roles.keys():
        raise UsageError(f"players has settings for {name!r}, who has no role. The league's are {', '.join(roles)}.")
    for name, role in roles.items():
        if role not in ROLES:
            raise UsageError(f"player {name!r} has no role {role!r}.{nearest(role, ROLES)} Roles: {', '.join(ROLES)}.")
    if not roles:
        raise UsageError("a league needs somebody who learns: name a player in roles, e.g. main=simple.")
    if clash := set(roles) & set(config.league.scripts):
        raise UsageError(f"{min(clash)!r} is a player and a script of the league. Rename the player in roles.")
    for call in config.league.scripts:
        find_script(call)
    return {name: learning_player(config, name) for name in roles}


def table_of(config: Config, players: int, workers: int) -> TableSpec:
    """Return the size of the match table. Raises UsageError when some player would be at home in no split."""
    if workers * config.num_splits < players:
        raise UsageError(
            f"{players} learning players need as many splits of environments, and {workers} rollout workers with "
            f"num_splits = {config.num_splits} have {workers * config.num_splits}. Raise num_workers or num_splits."
        )
    return TableSpec(players, config.league.live_snapshots, len(config.league.scripts))


def require_alike(names: Sequence[str], architectures: Sequence[str]) -> None:
    """Raise UsageError unless all players have the same network: a snapshot of one may sit in any bank slot."""
    for name, other in zip(names[1:], architectures[1:], strict=True):
        if unlike := architectures_differ(architectures[0], other):
            raise UsageError(
                f"the players of a league have one network, but {names[0]!r} and {name!r} differ: "
                f"{'; '.join(unlike[:5])}. Give them the same layers, memory and normalisation; how they learn may "
                "differ."
            )


def architecture(spec: PolicySpec, actor: nn.Module) -> str:
    """Return what must agree for the weights of two players to mean the same, as canonical JSON.

    Raises UsageError for a network that is no `Actor`: nothing says what its weights are the weights of.
    """
    if not isinstance(actor, Actor):
        raise UsageError(
            f"the network of {spec.name!r} is a {type(actor).__qualname__} of its algorithm's own, which no snapshot "
            "can describe. For a league have build_actor return an Actor (sfmarl/models/actor.py), if need be with an "
            "encoder of yours (register_model)."
        )
    about = spec.to_json()
    for name in ("name", "agents", "state_source", "state_shape"):
        about.pop(name, None)
    net = asdict(actor.config)
    net["hidden"] = list(net["hidden"])
    if type(actor) is not Actor:
        net[CLASS] = type(actor).__qualname__
    return canonical({"policy": about, "actor": net})
