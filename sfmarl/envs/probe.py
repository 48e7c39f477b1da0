"""Looks at a live ParallelEnv for a few steps and says what it is: teams, spaces, masks, global state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from gymnasium import spaces

from sfmarl.envs.codec import MASK_KEY, ActionCodec, CodecError, ObsCodec, illegal_rows, write_masks
from sfmarl.envs.rows import random_actions
from sfmarl.envs.teams import Teams, split_teams
from sfmarl.errors import UsageError
from sfmarl.specs import AgentId, EnvSpec, TeamSpec

PROBE_SEEDS = (0, 1, 2)
PROBE_STEPS = 8


@dataclass(frozen=True)
class TeamCodec:
    """How one team's raw observations and actions are stored."""

    obs: ObsCodec
    """Observations."""
    action: ActionCodec
    """Actions."""
    mask_in_info: bool = False
    """The mask lies in `infos[agent]["action_mask"]`."""

    def mask_of(self, raw: Any, info: Mapping[str, Any]) -> Any:
        """Return the agent's raw action mask; None when the environment gave none, which means all are legal."""
        return info.get(MASK_KEY) if self.mask_in_info else raw[MASK_KEY]

    def rest(self) -> Any:
        """Return the action zero (every first choice) as the environment takes it."""
        spec = self.action.spec
        return self.action.decode(np.zeros((1, 1, *spec.shape), spec.dtype))[0][0]


@dataclass(frozen=True)
class Probe:
    """What a probe found."""

    spec: EnvSpec
    """The environment as the data plane sees it."""
    codecs: tuple[TeamCodec, ...]
    """One per team of `spec`."""
    notes: tuple[str, ...] = ()
    """What a user may want to know, in sentences (shown by `check-env`)."""


@dataclass
class StateWatch:
    """Compares `env.state()` with the team's observations for as long as it is probed."""

    shape: tuple[int, ...] | None = None
    joint: bool = True
    absent: str = ""
    sizes: set[int] = field(default_factory=set)


def probe(env: Any, name: str, teams: str = "auto") -> Probe:
    """Play a few random steps in the ParallelEnv `env`, which is left in the middle of an episode.

    Raises UsageError for what cannot be trained on: unsupported spaces, spaces or agents that change at reset, teams
    that do not fit, an environment that fails in these first steps (with the failure as `__cause__`).
    """
    observations, infos = _call(name, "reset", lambda: env.reset(seed=PROBE_SEEDS[0]), 2)
    agents = possible_agents(env, name)
    observation_spaces, action_spaces = spaces_by_agent(env, name, agents)
    split = split_teams(agents, observation_spaces, action_spaces, teams)
    codecs = team_codecs(name, split, observation_spaces, action_spaces)
    rng = np.random.default_rng(PROBE_SEEDS[0])
    team_of = {agent: team for team, members in split.items() for agent in members}
    watch = StateWatch(joint=len(split) == 1)
    for seed in PROBE_SEEDS:
        if seed != PROBE_SEEDS[0]:
            observations, infos = _call(name, "reset", lambda seed=seed: env.reset(seed=seed), 2)
            require_unchanged(env, name, agents, observation_spaces, action_spaces)
        for _ in range(PROBE_STEPS):
            require_known(name, agents, env.agents)
            detect_info_masks(codecs, team_of, infos)
            if not any(agent in observations for agent in env.agents):
                break
            moves = {}
            for agent in env.agents:
                codec = codecs[team_of[agent]]
                if agent in observations:
                    moves[agent] = random_move(name, agent, codec, observations[agent], infos.get(agent, {}), rng)
                else:
                    moves[agent] = codec.rest()
            watch_state(env, name, watch, codecs, split, observations)
            observations, _, _, _, infos = _call(name, "step", lambda moves=moves: env.step(moves), 5)

    state_shape, joint, notes = judge_state(watch)
    spec = EnvSpec(name, team_specs(split, codecs), state_shape=state_shape, state_is_joint=joint)
    return Probe(spec, tuple(codecs.values()), notes)


def team_codecs(
    name: str,
    split: Teams,
    observation_spaces: Mapping[AgentId, spaces.Space],
    action_spaces: Mapping[AgentId, spaces.Space],
) -> dict[str, TeamCodec]:
    """Return team -> codec. Raises UsageError for a space that cannot be trained on."""
    codecs: dict[str, TeamCodec] = {}
    for team, members in split.items():
        try:
            action = ActionCodec(action_spaces[members[0]])
            codecs[team] = TeamCodec(ObsCodec(observation_spaces[members[0]], action.spec), action)
        except UsageError as error:
            raise UsageError(f"{name}: agent {members[0]!r}: {error}") from error
    return codecs


def team_specs(split: Teams, codecs: Mapping[str, TeamCodec]) -> tuple[TeamSpec, ...]:
    """Return the teams of `split` as the data plane sees them."""
    return tuple(
        TeamSpec(
            name=team,
            agents=members,
            obs=codecs[team].obs.spec,
            action=codecs[team].action.spec,
            has_mask=codecs[team].obs.has_mask or codecs[team].mask_in_info,
        )
        for team, members in split.items()
    )


def _call(name: str, what: str, call: Callable[[], Any], parts: int) -> Any:
    """Return the environment's answer, a tuple of `parts`."""
    try:
        answer = call()
    except Exception as error:
        raise UsageError(f"{name} failed in one of its first calls of {what}(): {error!r}") from error
    if not isinstance(answer, tuple) or len(answer) != parts:
        shape = "(observations, infos)" if parts == 2 else "(observations, rewards, terminations, truncations, infos)"
        raise UsageError(f"{name}: {what}() must return {shape}, not {type(answer).__name__}: {answer!r:.200}")
    names = ("observations", *(("rewards", "terminations", "truncations") if parts == 5 else ()), "infos")
    for part, of_agents in zip(names, answer, strict=True):
        if not isinstance(of_agents, Mapping):
            raise UsageError(
                f"{name}: {what}() must return {part} as a dict by agent, not {type(of_agents).__name__}: "
                f"{of_agents!r:.200}"
            )
    return answer


def require_known(name: str, agents: Collection[AgentId], listed: Iterable[AgentId]) -> None:
    """Raise UsageError when `env.agents` lists somebody who is not in `possible_agents`."""
    for agent in listed:
        if agent not in agents:
            raise UsageError(
                f"{name}: agent {agent!r} is not in possible_agents {tuple(agents)}; list every agent that can ever "
                "appear there"
            )


def possible_agents(env: Any, name: str) -> tuple[AgentId, ...]:
    """Return every agent that can ever appear. Raises UsageError when there is none or an id is no str or int."""
    agents = tuple(getattr(env, "possible_agents", ()))
    if not agents:
        raise UsageError(f"{name} must list every agent that can ever appear in `possible_agents`; it lists none")
    for agent in agents:
        if isinstance(agent, bool) or not isinstance(agent, (str, int)):
            raise UsageError(
                f"{name} has an agent {agent!r} of type {type(agent).__name__} in `possible_agents`; agent ids must be "
                "str or int, because checkpoints and results record them as JSON"
            )
    return agents


def spaces_by_agent(env: Any, name: str, agents: tuple[AgentId, ...]) -> tuple[dict[AgentId, spaces.Space], ...]:
    """Return ({agent: observation space}, {agent: action space}). Raises UsageError for what is no space."""
    try:
        found = {a: env.observation_space(a) for a in agents}, {a: env.action_space(a) for a in agents}
    except Exception as error:
        raise UsageError(f"{name}: observation_space() or action_space() failed: {error!r}") from error
    for kind, by_agent in zip(("observation", "action"), found, strict=True):
        for agent, space in by_agent.items():
            if not isinstance(space, spaces.Space):
                raise UsageError(f"{name}: {kind}_space({agent!r}) is no gymnasium space but {space!r:.200}")
    return found


def require_unchanged(
    env: Any, name: str, agents: tuple[AgentId, ...], *before: Mapping[AgentId, spaces.Space]
) -> None:
    """Raise UsageError when agents or spaces (observation, action) differ from those of an earlier episode."""
    if (now := possible_agents(env, name)) != agents:
        raise UsageError(
            f"{name} changes `possible_agents` at reset ({agents} became {now}); a policy needs one fixed list: name "
            "every agent there and leave out of `agents` those that do not take part"
        )
    for old, new in zip(before, spaces_by_agent(env, name, agents), strict=True):
        for agent in agents:
            if old[agent] != new[agent]:
                raise UsageError(
                    f"{name} redraws its spaces at reset ({agent!r}: {old[agent]} became {new[agent]}); a policy needs "
                    "fixed spaces: build the environment so that its spaces are drawn once, at construction"
                )


def detect_info_masks(
    codecs: dict[str, TeamCodec], team_of: Mapping[AgentId, str], infos: Mapping[AgentId, Any]
) -> None:
    """Note in `codecs` which teams find their action masks in these infos."""
    for agent, info in infos.items():
        team = team_of.get(agent)
        if team is None or codecs[team].obs.has_mask or codecs[team].action.spec.kind == "continuous":
            continue
        if isinstance(info, Mapping) and info.get(MASK_KEY) is not None:
            codecs[team] = replace(codecs[team], mask_in_info=True)


def random_move(
    name: str, agent: AgentId, codec: TeamCodec, raw: Any, info: Mapping[str, Any], rng: np.random.Generator
) -> Any:
    """Return a random legal action as the environment takes it. Raises UsageError for an observation that misfits."""
    spec = codec.action.spec
    mask = None
    try:
        codec.obs.one(raw)
        if codec.obs.has_mask or codec.mask_in_info:
            mask = np.ones((1, 1, spec.mask_size), bool)
            write_masks([codec.mask_of(raw, info)], mask, spec)
    except CodecError as error:
        raise UsageError(f"{name}: observation of agent {agent!r}: {error}") from error
    if mask is not None and illegal_rows(mask, spec.nvec).any():
        raise UsageError(f"{name}: the action mask of agent {agent!r} leaves no legal action")
    return codec.action.decode(random_actions(spec, (1, 1), rng, mask))[0][0]


def watch_state(
    env: Any,
    name: str,
    watch: StateWatch,
    codecs: Mapping[str, TeamCodec],
    split: Mapping[str, tuple[AgentId, ...]],
    observations: Mapping[AgentId, Any],
) -> None:
    """Look at `env.state()` once and compare it with the observations. Raises UsageError for one that misfits."""
    if watch.absent or not observations or not env.agents:
        # an environment that is over may have no state any more
        return
    try:
        state = np.asarray(env.state(), np.float32).ravel()
    except Exception as error:
        # whatever it raises, there is no state to train on; most environments have none
        watch.absent = f"env.state() raises {type(error).__name__}"
        return
    watch.sizes.add(state.size)
    if not watch.joint:
        return
    team, members = next(iter(split.items()))
    codec = codecs[team].obs
    parts = []
    for agent in members:
        try:
            parts.append(codec.one(observations[agent]) if agent in observations else np.zeros(codec.spec.shape))
        except CodecError as error:
            raise UsageError(f"{name}: observation of agent {agent!r}: {error}") from error
    joint = np.concatenate([np.asarray(part, np.float32).ravel() for part in parts])
    watch.joint = joint.shape == state.shape and bool(np.allclose(joint, state, rtol=1e-6, atol=1e-6))


def judge_state(watch: StateWatch) -> tuple[tuple[int, ...] | None, bool, tuple[str, ...]]:
    """Return (state_shape, state_is_joint, notes)."""
    if watch.absent:
        return None, False, (f"no global state: {watch.absent}",)
    if len(watch.sizes) != 1:
        sizes = ", ".join(map(str, sorted(watch.sizes)))
        return None, False, (f"env.state() is not used: it changes its size ({sizes})",)
    return (None, True, ()) if watch.joint else ((watch.sizes.pop(),), False, ())
