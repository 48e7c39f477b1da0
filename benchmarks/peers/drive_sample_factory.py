"""Trains with Sample Factory until it is stopped. Runs in Sample Factory's virtual environment.

    python -m peers.drive_sample_factory WORK TRAIN_DIR WORKERS ENVS_PER_WORKER SPLITS BATCHED ARRAYS

Of its two counters this uses the learner's; what was sampled is counted in the environments.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
from sample_factory.algo.runners.runner import AlgoObserver
from sample_factory.cfg.arguments import parse_full_cfg, parse_sf_args
from sample_factory.envs.env_utils import register_env
from sample_factory.train import make_runner

from peers.meters import Meter
from peers.parent import end_with_parent
from peers.works import WORKS, make_env


class ListEnv(gymnasium.Env):
    """One environment with lists instead of dicts that begins episodes anew: Sample Factory's multi-agent interface."""

    def __init__(self, work: str) -> None:
        self._env = make_env(work)
        self.is_multiagent, self.num_agents = True, len(self._env.agents)
        self.observation_space, self.action_space = self._env.observation_space, self._env.action_space
        self.render_mode = None

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[list, list]:
        """Start an episode."""
        return list(self._env.reset(seed).values()), [{} for _ in self._env.agents]

    def step(self, actions: Any) -> tuple[list, list, list, list, list]:
        """Step once; the observations after an episode's last step are the next one's first."""
        observations, *outcome = self._env.step(dict(zip(self._env.agents, map(int, actions), strict=True)))
        if not self._env.env.agents:
            observations = self._env.reset()
        return tuple(list(part.values()) for part in (observations, *outcome))


class ArrayEnv(gymnasium.Env):
    """Many environments as one whose agents are all of theirs, in arrays: what batched sampling is fastest with."""

    def __init__(self, work: str, num_envs: int) -> None:
        self._envs = [make_env(work) for _ in range(num_envs)]
        first = self._envs[0]
        self._agents = len(first.agents)
        self.is_multiagent, self.num_agents = True, num_envs * self._agents
        self.observation_space, self.action_space = first.observation_space, first.action_space
        self.render_mode = None
        self._obs = np.zeros((self.num_agents, *self.observation_space.shape), self.observation_space.dtype)
        self._rewards = np.zeros(self.num_agents, np.float32)
        self._terminated, self._truncated = np.zeros((2, self.num_agents), bool)
        self._infos: list[dict] = [{} for _ in range(self.num_agents)]

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, list[dict]]:
        """Start an episode in all of them."""
        for e, env in enumerate(self._envs):
            observations = env.reset(None if seed is None else seed + e)
            np.stack(list(observations.values()), out=self._obs[e * self._agents : (e + 1) * self._agents])
        return self._obs, self._infos

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[dict]]:
        """Step all of them once; see `ListEnv.step`."""
        rows = np.asarray(actions).reshape(-1, self._agents).tolist()
        for e, (env, row) in enumerate(zip(self._envs, rows, strict=True)):
            observations, rewards, terminated, truncated, _ = env.step(dict(zip(env.agents, row, strict=True)))
            if not env.env.agents:
                observations = env.reset()
            where = slice(e * self._agents, (e + 1) * self._agents)
            np.stack(list(observations.values()), out=self._obs[where])
            self._rewards[where] = list(rewards.values())
            self._terminated[where] = list(terminated.values())
            self._truncated[where] = list(truncated.values())
        return self._obs, self._rewards, self._terminated, self._truncated, self._infos


class Learned(AlgoObserver):
    """Reports the learner's counter."""

    def __init__(self) -> None:
        self._meter = Meter.from_environment("learned")

    def on_training_step(self, runner: Any, training_iteration_since_resume: int) -> None:
        """Report."""
        self._meter.set(runner.env_steps.get(0, 0))


def build_env(full_env_name: str, cfg: Any, env_config: Any = None, render_mode: Any = None) -> gymnasium.Env:
    """Build what `register_env` names; `cfg.envs_per_vector` is 0 for one environment in lists."""
    return ArrayEnv(full_env_name, cfg.envs_per_vector) if cfg.envs_per_vector else ListEnv(full_env_name)


def main(
    work_name: str, train_dir: str, workers: str, envs_per_worker: str, splits: str, batched: str, arrays: str
) -> None:
    """Train."""
    work = WORKS[work_name]
    # in arrays the environments of a split are one to Sample Factory
    per_vector = int(envs_per_worker) // int(splits) if arrays == "True" else 0
    register_env(work_name, build_env)
    arguments = [
        f"--env={work_name}",
        "--experiment=peer",
        f"--train_dir={train_dir}",
        "--device=cpu",
        f"--batched_sampling={batched}",
        f"--num_workers={workers}",
        f"--num_envs_per_worker={splits if per_vector else envs_per_worker}",
        f"--worker_num_splits={splits}",
        f"--envs_per_vector={per_vector}",
        f"--rollout={work.rollout}",
        f"--batch_size={work.batch_size}",
        "--num_batches_per_epoch=1",
        "--num_epochs=1",
        "--use_rnn=False",
        "--nonlinearity=tanh",
        "--actor_critic_share_weights=False",
        "--seed=1",
        "--encoder_mlp_layers",
        *map(str, work.hidden),
    ]
    parser, _ = parse_sf_args(arguments)
    parser.add_argument("--envs_per_vector", type=int)
    _, runner = make_runner(parse_full_cfg(parser, arguments))
    runner.register_observer(Learned())
    runner.init()
    runner.run()


if __name__ == "__main__":
    end_with_parent()
    main(*sys.argv[1:])
