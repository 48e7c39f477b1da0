"""What the environment layer costs on one core.

Prints the cost of the dict adapter per agent-step above the environments' own (trivial 8-agent dict env, 32 envs), also
with half of the agents dead; and what turn-based games cost from their step to the written slot, beside PettingZoo's
own loop. Medians of repeated runs, in CPU time, so that other processes disturb little.

    python benchmarks/adapter_overhead.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv

from sfmarl.config import Config
from sfmarl.envs.games import DictEnv
from sfmarl.envs.registry import load_spec, make_env, make_turn_envs, make_vector_env, register_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.envs.vector import VectorEnv
from sfmarl.memory.plane import DataPlane, PlaneSpec
from sfmarl.workers.gather import find_ready
from sfmarl.workers.turns import TurnSplit
from sfmarl.workers.waiting import InBlock


class HalfDeadEnv(DictEnv):
    """The dict env with every other agent dead from the start, which keeps the adapter off its common road."""

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start an episode of half of the agents."""
        observations, infos = super().reset(seed, options)
        self.agents = self.agents[::2]
        return {agent: observations[agent] for agent in self.agents}, infos

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Answer the living."""
        observations, *rest = super().step(actions)
        return {agent: observations[agent] for agent in self.agents}, *rest


class NullTurns(AECEnv):
    """Two agents of 32 numbers and 5 actions that take 40 turns; every answer is built once."""

    metadata: ClassVar = {"name": "null_turns"}

    def __init__(self) -> None:
        self.possible_agents = ["a_0", "a_1"]
        self.render_mode = None
        self._space, self._actions = spaces.Box(-1.0, 1.0, (32,), np.float32), spaces.Discrete(5)
        self._seen = {agent: np.zeros(32, np.float32) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> spaces.Box:
        """Return Box(-1, 1, [32])."""
        return self._space

    def action_space(self, agent: str) -> spaces.Discrete:
        """Return Discrete(5)."""
        return self._actions

    def observe(self, agent: str) -> np.ndarray:
        """Return zeros."""
        return self._seen[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Start an episode."""
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations, self.truncations = dict.fromkeys(self.agents, False), dict.fromkeys(self.agents, False)
        self.infos: dict[str, dict] = {agent: {} for agent in self.agents}
        self.agent_selection, self._turns = self.agents[0], 0

    def step(self, action: int | None) -> None:
        """Pay 1 and pass the turn on."""
        agent = self.agent_selection
        if self.terminations[agent]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[agent] = 1.0
        self._turns += 1
        if self._turns == 40:
            self.terminations = dict.fromkeys(self.agents, True)
        self.agent_selection = self.possible_agents[self._turns % 2]


def median_seconds(run: Callable[[], None], repeats: int) -> float:
    """Return the median CPU time of `repeats` calls, after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


def vector_run(env: VectorEnv, steps: int) -> Callable[[], None]:
    """Return a run of `steps` split-steps with auto-reset and fixed actions."""
    rng = np.random.default_rng(0)
    rows, outcome = new_obs_rows(env.spec, env.num_envs), new_outcome_rows(env.spec, env.num_envs)
    actions = [random_actions(t.action, (env.num_envs, len(t.agents)), rng) for t in env.spec.teams]
    running = np.ones(env.num_envs, bool)
    env.reset(range(env.num_envs), rows)

    def run() -> None:
        for _ in range(steps):
            ended = env.step(actions, running, rows, outcome)
            if ended.any():
                env.reset(np.flatnonzero(ended).tolist(), rows)

    return run


def bare_run(config: Config, num_envs: int, steps: int) -> Callable[[], None]:
    """Return a run of the environments alone: the same steps with prepared action dicts, answers thrown away."""
    envs = [make_env(config) for _ in range(num_envs)]
    actions = {}
    for e, env in enumerate(envs):
        env.reset(seed=e)
        actions = dict.fromkeys(env.possible_agents, 0)

    def run() -> None:
        for _ in range(steps):
            for env in envs:
                env.step(actions)
                if not env.agents:
                    env.reset()

    return run


def turns_run(config: Config, num_envs: int, steps: int) -> tuple[Callable[[], None], Callable[[], float]]:
    """Return a run of `steps` turns of every env, and how long it stood in for inference and learning so far."""
    spec = load_spec(config)
    plane = DataPlane.create(PlaneSpec(spec, 1, 1, num_envs, 1, 32, 2, (0,) * len(spec.teams), (1,)))
    blocks, seeds = plane.blocks(), list(range(num_envs))
    split = TurnSplit(make_turn_envs(config, num_envs), blocks, 0, [plane.weights(0)], 20, seeds=seeds)
    away = 0.0

    def run() -> None:
        nonlocal away
        for _ in range(steps):
            split.advance()
            start = time.process_time()
            for part in find_ready(blocks):
                part.take()
                part.release()
            for block in blocks:
                at = InBlock(block).index
                block.action[at] = 0 if block.action_mask is None else block.action_mask[at].argmax(-1)
                block.policy_version[at] = 1
            away += time.process_time() - start
            split.step()

    return run, lambda: away


def plain_turns_run(config: Config, num_envs: int, steps: int) -> Callable[[], None]:
    """Return a run of the same turns in PettingZoo's own loop, answers thrown away."""
    envs = [make_env(config) for _ in range(num_envs)]
    for e, env in enumerate(envs):
        env.reset(seed=e)

    def run() -> None:
        for _ in range(steps):
            for env in envs:
                moved = False
                while not moved:
                    if not env.agents:
                        env.reset()
                    raw, _, terminated, truncated, _ = env.last()
                    moved = not (terminated or truncated)
                    env.step((raw["action_mask"].argmax() if isinstance(raw, dict) else 0) if moved else None)

    return run


def print_turns(name: str, args: argparse.Namespace) -> None:
    """Measure and print one turn-based game."""
    config = Config(name)
    turns = args.envs * args.steps
    bare = median_seconds(plain_turns_run(config, args.envs, args.steps), 5)
    run, away = turns_run(config, args.envs, args.steps)
    run()
    begun = away()
    ours = median_seconds(run, 5) - (away() - begun) / 6
    print(f"{name}: PettingZoo's loop {bare / turns * 1e6:.1f} us per turn")
    print(f"  to the written slot:      {(ours - bare) / turns * 1e6:+.1f} us per turn ({ours / bare:.2f} of the loop)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=int, default=32, help="environments of the split")
    parser.add_argument("--steps", type=int, default=256, help="split-steps of one run")
    parser.add_argument("--repeats", type=int, default=15, help="runs the median is taken of")
    args = parser.parse_args()

    # an episode longer than all runs: every step takes the common road
    config = Config("games/dict", env_kwargs={"length": args.steps * (args.repeats + 2)})
    agent_steps = args.envs * 8 * args.steps
    bare = median_seconds(bare_run(config, args.envs, args.steps), args.repeats)
    ours = median_seconds(vector_run(make_vector_env(config, args.envs, range(args.envs)), args.steps), args.repeats)
    print(f"dict env, {args.envs} envs x 8 agents: env alone {bare / agent_steps * 1e6:.3f} us per agent-step")
    print(f"  adapter, nobody dies:     +{(ours - bare) / agent_steps * 1e6:.3f} us per agent-step")
    register_env("benchmark/half_dead", HalfDeadEnv, "every other agent is dead")
    config = Config("benchmark/half_dead", env_kwargs=config.env_kwargs)
    bare = median_seconds(bare_run(config, args.envs, args.steps), args.repeats)
    ours = median_seconds(vector_run(make_vector_env(config, args.envs, range(args.envs)), args.steps), args.repeats)
    print(f"  adapter, half are dead:   +{(ours - bare) / agent_steps * 2e6:.3f} us per agent-step of the living")

    register_env("benchmark/turns", NullTurns, "costs next to nothing")
    for name in ("benchmark/turns", "pettingzoo.classic.tictactoe_v3", "pettingzoo.classic.connect_four_v3"):
        print_turns(name, args)


if __name__ == "__main__":
    main()
