"""Trains with Sample Factory until it is stopped. Runs in Sample Factory's virtual environment.

    python -m peers.drive_sample_factory WORK TRAIN_DIR NUM_WORKERS NUM_ENVS_PER_WORKER BATCHED

Of its two counters this uses the learner's; what was sampled is counted in the environments.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
from sample_factory.algo.runners.runner import AlgoObserver
from sample_factory.cfg.arguments import parse_full_cfg, parse_sf_args
from sample_factory.envs.env_utils import register_env
from sample_factory.train import make_runner

from peers.meters import Meter
from peers.works import WORKS, make_env


class SampleFactoryEnv(gymnasium.Env):
    """Lists instead of dicts, and a new episode at once: Sample Factory's multi-agent interface."""

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
        actions = dict(zip(self._env.agents, map(int, actions), strict=True))
        observations, rewards, terminated, truncated, infos = self._env.step(actions)
        over = list(terminated.values()), list(truncated.values())
        if not self._env.env.agents:
            observations = self._env.reset()
        return list(observations.values()), list(rewards.values()), *over, list(infos.values())


class Learned(AlgoObserver):
    """Reports the learner's counter."""

    def __init__(self) -> None:
        self._meter = Meter.from_environment("learned")

    def on_training_step(self, runner: Any, training_iteration_since_resume: int) -> None:
        """Report."""
        self._meter.set(runner.env_steps.get(0, 0))


def build_env(full_env_name: str, cfg: Any = None, env_config: Any = None, render_mode: Any = None) -> SampleFactoryEnv:
    """Build what `register_env` names."""
    return SampleFactoryEnv(full_env_name)


def main(work_name: str, train_dir: str, workers: str, envs_per_worker: str, batched: str) -> None:
    """Train."""
    work = WORKS[work_name]
    register_env(work_name, build_env)
    arguments = [
        f"--env={work_name}",
        "--experiment=peer",
        f"--train_dir={train_dir}",
        "--device=cpu",
        f"--batched_sampling={batched}",
        f"--num_workers={workers}",
        f"--num_envs_per_worker={envs_per_worker}",
        "--worker_num_splits=2",
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
    _, runner = make_runner(parse_full_cfg(parser, arguments))
    runner.register_observer(Learned())
    runner.init()
    runner.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
