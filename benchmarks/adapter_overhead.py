"""What the environment layer costs on one core.

Prints the cost of the dict adapter per agent-step above the environments' own (trivial 8-agent dict env, 32 envs), also
with half of the agents dead, and the speed of the native particle world beside mpe2. Medians of repeated runs, in CPU
time, so that other processes disturb little.

    python benchmarks/adapter_overhead.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.games import DictEnv
from sfmarl.envs.registry import make_env, make_vector_env, register_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.envs.vector import VectorEnv


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

    mpe2 = make_vector_env(Config("mpe2.simple_spread_v3"), 4, range(4))
    seconds = median_seconds(vector_run(mpe2, 50), 3)
    print(f"simple_spread N=3: mpe2 {4 * 50 / seconds:,.0f} env-steps/s")
    for num_envs in (32, 256):
        native = make_vector_env(Config("native/simple_spread"), num_envs, range(num_envs))
        seconds = median_seconds(vector_run(native, 200), args.repeats)
        print(f"  native, {num_envs} envs: {num_envs * 200 / seconds:,.0f} env-steps/s")


if __name__ == "__main__":
    main()
