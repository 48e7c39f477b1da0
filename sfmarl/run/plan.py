"""What a run consists of: settings and environment in, every size and name that the processes must agree on out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config
from sfmarl.envs.script import find_script
from sfmarl.errors import UsageError, nearest
from sfmarl.memory.plane import PlaneSpec
from sfmarl.models.acting import flat_size
from sfmarl.players import Frozen, Learning, Player, Script, load_frozen, resolve_players
from sfmarl.run.league_plan import architecture, league_players, require_alike, table_of
from sfmarl.specs import AgentId, EnvSpec, PolicySpec, StateSource, TeamSpec
from sfmarl.storage.checkpoint import PolicyState, Seat, copy_policy
from sfmarl.storage.config_file import from_json
from sfmarl.workers.seating import frozen

MOST_WORKERS, MOST_INFERENCE_WORKERS = 200, 40
"""A child is passed a descriptor of every queue, and multiprocessing passes at most 256."""


@dataclass(frozen=True)
class RunPlan:
    """Handed to every process; building it allocates nothing."""

    config: Config
    """The settings, with `hp` filled in."""
    env: EnvSpec
    """The environment."""
    policies: tuple[PolicySpec, ...]
    """Policies that learn, by policy index."""
    learning: tuple[Learning, ...]
    """How each of them learns."""
    bystanders: tuple[Bystander, ...]
    """Players that do not learn, by their number; policies come before scripts."""
    plane: PlaneSpec
    """What lies in shared memory."""
    batch_lanes: tuple[int, ...]
    """Per policy: lanes (slots) of one update."""
    device: str
    """Torch device of inference and learning: cpu, cuda:0, cuda:1 ..."""
    learner_threads: int
    """Torch threads of each learner."""
    scripts: tuple[str, ...] = ()
    """What a league's scripts call, in the order of their columns in the match table."""
    architecture: str = ""
    """What a league's snapshots are the weights of: canonical JSON, part of what their addresses hash."""
    start_env_steps: int = 0
    """Env-steps the run had taken when it was resumed: its random streams do not begin again."""

    @property
    def sync(self) -> bool:
        """Lanes wait for the update that learns from them: policy lag 0."""
        return self.config.mode != "async"

    @property
    def shares_device_weights(self) -> bool:
        """Learners hand weights to inference workers on the GPU, besides the way through the host."""
        return self.config.device_weights and self.device.startswith("cuda")

    @property
    def local_inference(self) -> bool:
        """Every rollout worker computes its own actions; in serial mode there is nothing to choose."""
        return _local_inference(self.config)

    def policy_of_team(self) -> dict[str, str]:
        """Return team name -> name of the policy, frozen or learning, that plays it; teams of scripts are left out."""
        found = {}
        for team, policy in zip(self.env.teams, self.plane.policy_of_team, strict=True):
            if policy >= 0:
                found[team.name] = self.policies[policy].name
            elif self.bystanders[frozen(policy)].state is not None:
                found[team.name] = self.bystanders[frozen(policy)].name
        return found

    def seats(self) -> dict[str, Seat]:
        """Return team name -> who plays it, as a checkpoint records it; teams of scripts are left out."""
        policies = self.policy_of_team()
        return {team.name: Seat(policies[team.name], team.agents) for team in self.env.teams if team.name in policies}

    def write_frozen(self, tmp: Path) -> None:
        """Write the policies that do not learn into the checkpoint being made in `tmp`. Raises RunError."""
        for player in self.bystanders:
            if player.state is not None:
                copy_policy(tmp, player.state)


@dataclass(frozen=True)
class Bystander:
    """A player that does not learn."""

    name: str
    """Its name among the policies."""
    state: PolicyState | None = None
    """A frozen policy; None for a script."""
    hp: Any = None
    """The frozen policy's hyperparameters."""
    script: str = ""
    """What a script calls."""


def make_plan(config: Config, env: EnvSpec) -> RunPlan:
    """Resolve every `auto` and 0 of `config` for `env`, and read the policies that are frozen.

    Raises UsageError for combinations that cannot run: a central critic without a state, roles that miss an agent,
    a batch size that sync mode cannot honour, players that do not fit.
    """
    in_league = config.league is not None
    players: Mapping[str, Player] = league_players(config, env) if in_league else resolve_players(config, env)
    teams: dict[str, list[TeamSpec]] = {name: list(env.teams) if in_league else [] for name in players}
    for team in () if in_league else env.teams:
        teams[config.policies.get(team.name, team.name)].append(team)
    learning = {name: player for name, player in players.items() if isinstance(player, Learning)}
    bystanders = _bystanders(players, teams)
    numbers = {name: index for index, name in enumerate(learning)}
    numbers |= {player.name: frozen(index) for index, player in enumerate(bystanders)}
    policies = [_policy(config, env, name, teams[name][0], learns) for name, learns in learning.items()]
    actors = [_actor(spec, learns.algo, learns.hp) for spec, learns in zip(policies, learning.values(), strict=True)]
    alike = ""
    if in_league:
        built = [architecture(spec, actor) for spec, actor in zip(policies, actors, strict=True)]
        require_alike(list(players), built)
        alike = built[0]
    frozen_actors = [_actor(p.state.spec, p.state.algo, p.hp) for p in bystanders if p.state is not None]
    workers = resolve_workers(config)
    at_home = tuple(0 if in_league else numbers[config.policies.get(team.name, team.name)] for team in env.teams)
    frozen_sizes = tuple(flat_size(actor) for actor in frozen_actors)
    table = None
    if in_league:
        table = table_of(config, len(policies), workers)
        frozen_sizes = (flat_size(actors[0]),) * table.snapshots
    plane = PlaneSpec(
        env=env,
        workers=workers,
        splits=config.num_splits,
        envs_per_split=config.num_envs_per_worker // config.num_splits,
        inference_workers=workers if _local_inference(config) else config.num_inference_workers,
        rollout=config.rollout,
        ring=config.ring,
        policy_of_team=at_home,
        weight_sizes=tuple(flat_size(actor) for actor in actors),
        frozen_sizes=frozen_sizes,
        table=table,
        rnn_sizes=tuple(getattr(actor, "state_size", 0) for actor in actors),
        stores_state=any(spec.state_source == "env" for spec in policies),
        masked_death=config.death == "masked",
    )
    return RunPlan(
        config=config,
        env=env,
        policies=tuple(policies),
        learning=tuple(learning.values()),
        bystanders=tuple(bystanders),
        plane=plane,
        batch_lanes=tuple(_batch_lanes(config, plane, policy) for policy in range(len(policies))),
        device=_device(config),
        learner_threads=config.learner_threads or _learner_threads(plane.workers, len(policies)),
        scripts=config.league.scripts if in_league else (),
        architecture=alike,
    )


def _bystanders(players: Mapping[str, Player], teams: Mapping[str, list[TeamSpec]]) -> list[Bystander]:
    """Return who does not learn, policies first: their weights lie in the order of their numbers."""
    policies, scripts = [], []
    for name, player in players.items():
        if isinstance(player, Frozen):
            state = load_frozen(name, player, teams[name])
            preset = get_algorithm(state.algo).hyperparameters()
            policies.append(Bystander(name, state, from_json(type(preset), state.hp, f"the frozen policy {name!r}")))
        elif isinstance(player, Script):
            find_script(player.call)
            scripts.append(Bystander(name, script=player.call))
    return policies + scripts


def _policy(config: Config, env: EnvSpec, name: str, team: TeamSpec, learns: Learning) -> PolicySpec:
    central = get_algorithm(learns.algo).cls.central_critic(learns.hp)
    source = _state_source(config, learns.algo, env) if central else "own"
    return PolicySpec(
        name=name,
        obs=team.obs,
        action=team.action,
        has_mask=team.has_mask,
        agents=team.agents,
        parameter_set=_parameter_sets(config.sharing, team.agents),
        state_source=source,
        state_shape=(env.state_shape or ()) if source == "env" else (),
    )


def _actor(spec: PolicySpec, algo: str, hp: Any) -> nn.Module:
    with buildable(spec.name):
        return get_algorithm(algo).cls.build_actor(spec, hp)


@contextmanager
def buildable(policy: str) -> Iterator[None]:
    """Have networks that memory cannot hold be a UsageError that names the policy."""
    try:
        yield
    except (RuntimeError, MemoryError, OverflowError, TypeError) as error:
        if isinstance(error, TypeError) and "Overflow" not in str(error):  # torch's word for a size beyond 64 bits
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"the networks of policy {policy!r} cannot be built: {reason} Take fewer or smaller layers."
        ) from error


def resolve_workers(config: Config) -> int:
    """Return the number of rollout workers that `num_workers` means on this machine."""
    if config.num_workers:
        return config.num_workers
    return 1 if config.mode == "serial" else min(max(2, len(os.sched_getaffinity(0))), MOST_WORKERS)


def _device(config: Config) -> str:
    """Return the device that `device` means here, a GPU by its number: `torch.cuda.set_device` takes none without."""
    if config.device != "auto":
        return "cuda:0" if config.device == "cuda" else config.device
    on_cpu = config.mode == "serial" or _local_inference(config)
    return "cuda:0" if torch.cuda.is_available() and not on_cpu else "cpu"


def _local_inference(config: Config) -> bool:
    return config.inference == "local" and config.mode != "serial"


def _learner_threads(workers: int, learners: int) -> int:
    cores = len(os.sched_getaffinity(0))
    return 1 if cores <= 4 else max(1, (cores - workers) // (2 * learners))


def _batch_lanes(config: Config, plane: PlaneSpec, policy: int) -> int:
    lanes = plane.lanes_of_policy(policy)
    block = next(block for block in plane.blocks() if block.policy == policy)
    if config.mode == "async":
        if config.batch_size == 0:
            return max(1, lanes // 2)
        return -(-config.batch_size // (config.rollout * block.agents))
    every = lanes * config.rollout * block.agents
    if config.batch_size not in (0, every):
        raise UsageError(
            f"batch_size = {config.batch_size}, but in {config.mode} mode one update takes one slot of every lane, "
            f"{every} agent-steps. Leave batch_size at 0, or change num_workers, num_envs_per_worker or rollout."
        )
    return lanes


def _state_source(config: Config, algo: str, env: EnvSpec) -> StateSource:
    """Choose what a policy's central critic is fed."""
    if config.state_source != "joint" and env.state_shape is not None:
        return "env"
    if env.turn_based:
        raise UsageError(
            f"{algo} has a central critic, but {env.env} has no state() and its agents take turns, so there are "
            "no simultaneous observations to stand in for it. Use an algorithm whose critic sees what its agent sees, "
            "such as ippo or appo."
        )
    return "joint"


def _parameter_sets(sharing: str, agents: tuple[AgentId, ...]) -> tuple[int, ...]:
    if sharing == "full":
        return (0,) * len(agents)
    if sharing == "none":
        return tuple(range(len(agents)))
    roles = json.loads(sharing)
    missing = [agent for agent in agents if str(agent) not in roles]
    if missing:
        raise UsageError(
            f"sharing gives agent {str(missing[0])!r} no role.{nearest(str(missing[0]), roles)} "
            f"Name a role for each of {', '.join(map(str, agents))}."
        )
    order = list(dict.fromkeys(roles[str(agent)] for agent in agents))
    return tuple(order.index(roles[str(agent)]) for agent in agents)
