"""What a run consists of: settings and environment in, every size and name that the processes must agree on out."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import torch

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config
from sfmarl.errors import UsageError, nearest
from sfmarl.memory.plane import PlaneSpec
from sfmarl.models.acting import flat_size
from sfmarl.specs import AgentId, EnvSpec, PolicySpec, StateSource, TeamSpec


@dataclass(frozen=True)
class RunPlan:
    """Handed to every process; building it allocates nothing."""

    config: Config
    """The settings, with `hp` filled in."""
    env: EnvSpec
    """The environment."""
    policies: tuple[PolicySpec, ...]
    """Trainable policies, by policy index."""
    plane: PlaneSpec
    """What lies in shared memory."""
    batch_lanes: tuple[int, ...]
    """Per policy: lanes (slots) of one update."""
    device: str
    """Torch device of inference and learning."""
    learner_threads: int
    """Torch threads of each learner."""
    start_env_steps: int = 0
    """Env-steps the run had taken when it was resumed: its random streams do not begin again."""

    @property
    def sync(self) -> bool:
        """Lanes wait for the update that learns from them: policy lag 0."""
        return self.config.mode != "async"

    def policy_of_team(self) -> dict[str, str]:
        """Return team name -> policy name."""
        return {
            team.name: self.policies[policy].name
            for team, policy in zip(self.env.teams, self.plane.policy_of_team, strict=True)
        }


def make_plan(config: Config, env: EnvSpec) -> RunPlan:
    """Resolve every `auto` and 0 of `config` for `env`.

    Raises UsageError for combinations that cannot run: a central critic without a state, roles that miss an agent,
    a batch size that sync mode cannot honour.
    """
    entry = get_algorithm(config.algo)
    central = entry.cls.central_critic(config.hp)
    names = list(dict.fromkeys(config.policies.get(team.name, team.name) for team in env.teams))
    policy_of_team = tuple(names.index(config.policies.get(team.name, team.name)) for team in env.teams)
    policies = []
    for index, name in enumerate(names):
        team = env.teams[policy_of_team.index(index)]
        source = _state_source(config, env, team) if central else "own"
        policies.append(
            PolicySpec(
                name=name,
                obs=team.obs,
                action=team.action,
                has_mask=team.has_mask,
                agents=team.agents,
                parameter_set=_parameter_sets(config.sharing, team.agents),
                state_source=source,
                state_shape=(env.state_shape or ()) if source == "env" else (),
            )
        )
    actors = [entry.cls.build_actor(spec, config.hp) for spec in policies]
    plane = PlaneSpec(
        env=env,
        workers=resolve_workers(config),
        splits=config.num_splits,
        envs_per_split=config.num_envs_per_worker // config.num_splits,
        inference_workers=config.num_inference_workers,
        rollout=config.rollout,
        ring=config.ring,
        policy_of_team=policy_of_team,
        weight_sizes=tuple(flat_size(actor) for actor in actors),
        rnn_sizes=tuple(getattr(actor, "state_size", 0) for actor in actors),
        stores_state=any(spec.state_source == "env" for spec in policies),
        masked_death=config.death == "masked",
    )
    device = config.device
    if device == "auto":
        device = "cuda" if config.mode != "serial" and torch.cuda.is_available() else "cpu"
    return RunPlan(
        config=config,
        env=env,
        policies=tuple(policies),
        plane=plane,
        batch_lanes=tuple(_batch_lanes(config, plane, policy) for policy in range(len(policies))),
        device=device,
        learner_threads=config.learner_threads or _learner_threads(plane.workers, len(policies)),
    )


def resolve_workers(config: Config) -> int:
    """Return the number of rollout workers that `num_workers` means on this machine."""
    if config.num_workers:
        return config.num_workers
    return 1 if config.mode == "serial" else max(2, len(os.sched_getaffinity(0)))


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


def _state_source(config: Config, env: EnvSpec, team: TeamSpec) -> StateSource:
    """Choose what the central critic of `team`'s policy is fed."""
    if config.state_source != "joint" and env.state_shape is not None:
        return "env"
    if env.turn_based:
        raise UsageError(
            f"{config.algo} has a central critic, but {env.env} has no state() and its agents take turns, so there are "
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
