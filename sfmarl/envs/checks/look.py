"""Plays an environment through its own interface, without the trainer's adapters, and inspects what it says."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.checks.guarded import close
from sfmarl.envs.checks.inspect import Inspector
from sfmarl.envs.checks.report import CheckReport
from sfmarl.envs.probe import Probe, TeamCodec, random_move
from sfmarl.envs.registry import make_env
from sfmarl.errors import UsageError
from sfmarl.specs import AgentId

LOOK_STEPS = 200
"""Env-steps that are inspected at most."""

BOUND_SHARE = 0.25
"""Share of continuous actions that lie on a bound, as clipped Gaussian actions often do."""


def look(report: CheckReport, config: Config, found: Probe, seconds: float) -> None:
    """Inspect up to `LOOK_STEPS` steps, for about `seconds`, of the environment that was `found`."""
    deadline = time.perf_counter() + seconds
    env, other = make_env(config), make_env(config)
    try:
        kind = _TurnLook if found.spec.turn_based else _ParallelLook
        walk = kind(env, other, found)
        try:
            walk.run(deadline)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            walk.inspector.refuse("interface", f"{walk.inspector.where}: not what PettingZoo asks for: {error!r}")
    finally:
        close(env)
        close(other)
    walk.inspector.conclude(report)
    told = "see below" if walk.inspector.found_anything else "nothing to object to"
    report.facts.append(
        f"interface: {told} ({walk.steps} steps inspected: spaces, dtypes, bounds, masks, state(), endings, arrays, "
        "random generators)"
    )


class _Look(ABC):
    """One environment, a second copy of it, and random legal moves."""

    def __init__(self, env: Any, other: Any, found: Probe) -> None:
        self.env, self._other = env, other
        self.name = found.spec.env
        self.inspector = Inspector(found)
        self.codecs: dict[AgentId, TeamCodec] = {
            agent: codec for team, codec in zip(found.spec.teams, found.codecs, strict=True) for agent in team.agents
        }
        self._rng = np.random.default_rng(0)
        self.steps = 0
        """Env-steps made."""
        self._episode = 0
        self._step = 0

    def run(self, deadline: float) -> None:
        """Play until the deadline, `LOOK_STEPS`, or the first problem."""
        # an episode without a single step must not keep us here
        while self.steps + self._episode < LOOK_STEPS and not self.inspector.found_problems:
            alive = self._reset()
            if self._episode == 1 and alive:
                self._disturb()
            while alive and self.steps < LOOK_STEPS and not self.inspector.found_problems:
                if self.steps and time.perf_counter() > deadline:
                    return
                alive = self.turn()
                self.steps += 1

    @abstractmethod
    def turn(self) -> bool:
        """Make one env-step; return whether the episode goes on."""

    @abstractmethod
    def begin(self, answer: Any) -> bool:
        """Take what reset() answered; return whether anybody is alive."""

    def _reset(self) -> bool:
        self._episode += 1
        self._step = 0
        seed = {"seed": 1} if self._episode == 1 else {}
        return self.begin(self.call("reset()", self.env.reset, **seed))

    def _disturb(self) -> None:
        """Reset the other copy, which must leave this one's observations alone."""
        try:
            self._other.reset(seed=2)
            if hasattr(self._other, "agent_iter"):
                self._other.last()
        except Exception as error:
            self.inspector.refuse("call", f"a second copy: reset() raised {type(error).__name__}: {error}")
        self.inspector.release("another copy of the environment", keep=True)

    def call(self, what: str, function: Any, *args: Any, sent: Callable[[], str] = str, **kwargs: Any) -> Any:
        """Return what `function` answers; None, and a problem, when it raises. `sent` says more of it."""
        self.inspector.where = f"episode {self._episode}, step {self._step}"
        with self.inspector.global_generators(what):
            try:
                return function(*args, **kwargs)
            except Exception as error:
                self.inspector.refuse(
                    "call",
                    f"{self.inspector.where}: {what} raised {type(error).__name__}: {error}{sent()}. An exception of "
                    "the environment ends a run",
                )
        return None

    def step(self, moves: Any, agents: list[AgentId]) -> Any:
        """Return what step() answers to legal moves."""
        self._step += 1
        return self.call("step()", self.env.step, moves, sent=lambda: self._sent(moves, agents))

    def _sent(self, moves: Any, agents: list[AgentId]) -> str:
        if any(self.codecs[agent].obs.has_mask or self.codecs[agent].mask_in_info for agent in agents):
            return f". It was sent {moves!r:.300}, which its action masks allow: a mask must forbid what step() refuses"
        return (
            f". It was sent {moves!r:.300}, which its action spaces hold: actions that are illegal at times need an "
            "`action_mask`"
        )

    def observe(self, agent: AgentId, raw: Any, info: Any) -> None:
        """Inspect what an agent is told."""
        if agent not in self.codecs:
            self.inspector.refuse(
                ("stranger", agent),
                f"agent {agent!r} is not in possible_agents ({self.inspector.where}): this ends a run. Name every "
                "agent there that can appear",
            )
            return
        self.inspector.observation(agent, raw, self.env.observation_space(agent))
        if isinstance(info, Mapping):
            self.inspector.mask(agent, raw, info)
        self.inspector.hold(agent, raw)

    def move(self, agent: AgentId, raw: Any, info: Any) -> Any:
        """Return a legal move; None, and a problem, for an observation or mask that the trainer refuses."""
        codec = self.codecs[agent]
        try:
            move = random_move(self.name, agent, codec, raw, info if isinstance(info, Mapping) else {}, self._rng)
        except UsageError as error:
            self.inspector.refuse("misfit", f"{error} ({self.inspector.where}): this ends a run")
            return None
        action = codec.action.spec
        if action.kind == "continuous" and self._rng.random() < BOUND_SHARE:
            side = action.low if self._rng.random() < 0.5 else action.high
            stored = np.where(np.isfinite(side), side, 0.0)[None, None]
            move = codec.action.decode(stored)[0][0]
        return move


class _ParallelLook(_Look):
    """All agents act at once."""

    def begin(self, answer: Any) -> bool:
        if self.inspector.found_problems:
            return False
        self._seen, self._told = answer
        self.inspector.state(self.env)
        for agent, raw in self._seen.items():
            self.observe(agent, raw, self._told.get(agent, {}))
        return bool(self.env.agents)

    def turn(self) -> bool:
        listed = [agent for agent in self.env.agents if agent in self.codecs]
        acting = [agent for agent in listed if agent in self._seen]
        moves = {agent: self.move(agent, self._seen[agent], self._told.get(agent, {})) for agent in acting}
        if self.inspector.found_problems or not moves:
            return False
        # as in a run: whoever is listed and sees nothing does nothing
        moves |= {agent: self.codecs[agent].rest() for agent in listed if agent not in moves}
        answer = self.step(moves, acting)
        if self.inspector.found_problems:
            return False
        self.inspector.release("the next step")
        self._seen, rewards, terminated, truncated, self._told = answer
        for agent in acting:
            for what, flags in (("terminations", terminated), ("truncations", truncated)):
                if agent not in flags:
                    self.inspector.warn(
                        ("unflagged", what),
                        f"agent {agent!r} acted and is missing from the {what} ({self.inspector.where}): it counts as "
                        "not flagged there",
                    )
            self._judge_end(agent, rewards, terminated.get(agent, False), truncated.get(agent, False))
        for agent, raw in self._seen.items():
            self.observe(agent, raw, self._told.get(agent, {}))
        if self.env.agents:
            self.inspector.state(self.env)
        return bool(self.env.agents)

    def _judge_end(self, agent: AgentId, rewards: Mapping[AgentId, Any], terminated: bool, truncated: bool) -> None:
        """Look how the agent was paid for its action, and whether it left in order."""
        warn, where = self.inspector.warn, self.inspector.where
        if agent not in rewards:
            warn("unpaid", f"agent {agent!r} acted and is missing from the rewards ({where}): it is given 0")
        listed = agent in self.env.agents
        if not (listed or terminated or truncated):
            warn(
                "vanished",
                f"agent {agent!r} left `agents` without being terminated or truncated ({where}): its return ends "
                "there, as if it were terminated",
            )
        elif truncated and not terminated and agent not in self._seen:
            warn(
                "cut",
                f"agent {agent!r} was truncated without a last observation ({where}): nothing can be bootstrapped "
                "from, so it counts as terminated",
            )
        elif listed and not (terminated or truncated) and agent not in self._seen:
            warn(
                "unseen",
                f"agent {agent!r} is listed in `agents` and has no observation ({where}): it counts as dead until it "
                "has one",
            )


class _TurnLook(_Look):
    """Agents act one after the other."""

    def begin(self, answer: Any) -> bool:
        if self.inspector.found_problems:
            return False
        self.inspector.state(self.env)
        return self._ask()

    def turn(self) -> bool:
        raw, _, terminated, truncated, info = self._said
        agent = self.env.agent_selection
        move = None if terminated or truncated else self.move(agent, raw, info)
        if self.inspector.found_problems:
            return False
        self.step(move, [agent])
        if self.inspector.found_problems:
            return False
        self.inspector.release("the next turn")
        if self.env.agents:
            self.inspector.state(self.env)
        return self._ask()

    def _ask(self) -> bool:
        """Ask whose turn it is and what it is told."""
        if not self.env.agents:
            return False
        self._said = self.call("last()", self.env.last)
        if self.inspector.found_problems:
            return False
        raw, _, terminated, truncated, info = self._said
        if not (terminated or truncated):
            self.observe(self.env.agent_selection, raw, info)
        return not self.inspector.found_problems
