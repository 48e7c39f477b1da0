"""What can be wrong with a run's settings once its environment is known."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sfmarl.config import Config
from sfmarl.errors import UsageError, nearest
from sfmarl.fit import require_same_spaces, teams_by_policy
from sfmarl.players import Learning, Player, Script, resolve_players
from sfmarl.run.league_plan import league_players
from sfmarl.setting_types import check_types
from sfmarl.specs import EnvSpec, TeamSpec


def validate_for_env(config: Config, spec: EnvSpec, num_workers: int) -> None:
    """Check settings against the environment that was found, with `num_workers` rollout workers.

    Raises UsageError for policies of unknown teams and mappings with holes, players that cannot be meant, roles of
    unknown agents, one policy for teams that observe or act differently, a global state that does not exist, and a
    batch that could never be full.
    """
    players: Mapping[str, Player]
    if config.league is not None:
        players = league_players(config, spec)
        teams_of = {name: list(spec.teams) for name in players}
        # its splits are home to the players in turn; the one with the fewest has the smallest batch
        share = num_workers * config.num_splits // len(players) / (num_workers * config.num_splits)
    else:
        players, teams_of, share = resolve_players(config, spec), teams_by_policy(config.policies, spec), 1.0
    _check_roles(config, spec)
    _check_turns(config, spec)
    for policy, player in players.items():
        if not isinstance(player, Script):
            require_same_spaces(policy, teams_of[policy])
        if isinstance(player, Learning):
            _check_own_hyperparameters(policy, player)
            _check_batch(config, spec, policy, teams_of[policy], int(share * num_workers * config.num_envs_per_worker))
    if config.state_source == "env" and spec.state_shape is None and not spec.state_is_joint:
        raise UsageError(
            f"state_source = 'env', but {spec.env} has no state(). Take state_source = 'joint' "
            "(the team's observations side by side), or an algorithm without a central critic."
        )


def _check_turns(config: Config, spec: EnvSpec) -> None:
    """Raise UsageError for settings that ask for the rewards of a whole team at once where agents take turns."""
    if not spec.turn_based:
        return
    if config.death == "masked":
        raise UsageError(
            f"death = masked, but the agents of {spec.env} take turns: once dead, an agent has none at which it could "
            "earn. Take death = terminal."
        )
    if config.team_reward != "env" and any(len(team.agents) > 1 for team in spec.teams):
        raise UsageError(
            f"team_reward = {config.team_reward}, but the agents of {spec.env} take turns: there is no step at which a "
            "team's rewards could be added up. Take team_reward = env."
        )


def _check_roles(config: Config, spec: EnvSpec) -> None:
    if config.sharing in ("full", "none"):
        return
    agents = [str(agent) for team in spec.teams for agent in team.agents]
    if unknown := [name for name in json.loads(config.sharing) if name not in agents]:
        raise UsageError(
            f"sharing gives roles to {', '.join(map(repr, unknown))}, but the agents of {spec.env} are "
            f"{', '.join(agents)}.{nearest(unknown[0], agents)}"
        )


def _check_batch(config: Config, spec: EnvSpec, policy: str, teams: list[TeamSpec], envs: int) -> None:
    """Raise UsageError for a batch that the slots of `policy` in `envs` cannot hold while a new slot is being filled.

    A batch takes whole slots. The workers claim a ring position for all its lanes at once, so one that a batch took
    only in part stays closed until the next batch: the batch must fit into the other `ring - 1` positions.
    """
    size = len(teams[0].agents)
    agents = 1 if spec.turn_based else size
    lanes = envs * len(teams) * (size if spec.turn_based else 1)
    per_slot = config.rollout * agents
    most = (config.ring - 1) * lanes
    if -(-config.batch_size // per_slot) > most:
        raise UsageError(
            f"batch_size = {config.batch_size} can never be reached: policy {policy!r} can learn from at most "
            f"{most * per_slot} agent-steps at once, (ring - 1) x {lanes} lanes x {per_slot} agent-steps of a slot. "
            f"Take at most that, or raise ring, rollout, num_envs_per_worker or num_workers."
        )


def _check_own_hyperparameters(policy: str, player: Learning) -> None:
    try:
        check_types(player.hp)
    except UsageError as error:
        raise UsageError(f"players: {policy!r}: {error}") from error
