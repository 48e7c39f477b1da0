"""Trains with RLlib (new API stack) until it is stopped. Runs in RLlib's virtual environment.

    python -m peers.drive_rllib WORK TEMP_DIR ALGORITHM NUM_ENV_RUNNERS NUM_ENVS_PER_RUNNER

What was sampled is counted in the environments. What was learned is counted in updates for PPO, whose own counters
include rows added for bootstrapping; for IMPALA and APPO it is the learner's counter, those rows included.
"""

from __future__ import annotations

import os
import sys
from typing import Any

# nothing is sent anywhere, and no token is left in the home directory
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}

import ray
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.tune.registry import register_env

from peers.meters import Meter
from peers.parent import end_with_parent
from peers.works import WORKS, Work, make_env


class RLlibEnv(MultiAgentEnv):
    """RLlib's multi-agent interface: one more key says that all agents are done."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self._env = make_env(config["work"])
        self.agents = self.possible_agents = list(self._env.agents)
        self.observation_spaces = dict.fromkeys(self.agents, self._env.observation_space)
        self.action_spaces = dict.fromkeys(self.agents, self._env.action_space)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        """Start an episode."""
        return self._env.reset(seed), {}

    def step(self, action_dict: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Step once."""
        observations, rewards, terminated, truncated, infos = self._env.step(action_dict)
        ended = {"__all__": all(terminated.values())}, {"__all__": all(truncated.values())}
        return observations, rewards, terminated | ended[0], truncated | ended[1], infos


def configure(algorithm: str, work: Work, runners: int, envs_per_runner: int) -> Any:
    """Return the algorithm's settings for one work."""
    config = {"PPO": PPOConfig, "IMPALA": IMPALAConfig, "APPO": APPOConfig}[algorithm]()
    config = (
        config.environment("peer", env_config={"work": work.name})
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=envs_per_runner, num_cpus_per_env_runner=1)
        .multi_agent(policies={"shared"}, policy_mapping_fn=lambda *args, **kwargs: "shared")
        .rl_module(
            model_config=DefaultModelConfig(
                fcnet_hiddens=list(work.hidden), fcnet_activation="tanh", vf_share_layers=False
            )
        )
        .training(train_batch_size_per_learner=work.batch_env_steps, num_epochs=1)
        .reporting(
            min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=0, metrics_num_episodes_for_smoothing=1
        )
        .debugging(seed=1)
    )
    if algorithm == "PPO":
        # the learner sits in the main process: sampling and learning take turns whatever is set here
        return config.learners(num_learners=0).training(minibatch_size=None)
    config = config.learners(num_learners=1).env_runners(rollout_fragment_length=work.rollout)
    if algorithm == "APPO":
        # every batch is learned from once, as everywhere else; the default is twice
        config = config.training(circular_buffer_num_batches=1, circular_buffer_iterations_per_batch=1)
    return config


def main(work_name: str, temp_dir: str, algorithm: str, runners: str, envs_per_runner: str) -> None:
    """Train."""
    work, meter = WORKS[work_name], Meter.from_environment("learned")
    # a runner and the learner hold a core each in Ray's books; on the machine they share what there is
    ray.init(num_cpus=int(runners) + 2, include_dashboard=False, _temp_dir=temp_dir, object_store_memory=512 * 2**20)
    register_env("peer", RLlibEnv)
    algo = configure(algorithm, work, int(runners), int(envs_per_runner)).build_algo()
    while True:
        result = algo.train()
        if algorithm == "PPO":
            meter.add(work.batch_size)
        else:
            learned = result.get("learners", {}).get("__all_modules__", {})
            meter.set(int(learned.get("num_module_steps_trained_lifetime", 0)))


if __name__ == "__main__":
    end_with_parent()
    main(*sys.argv[1:])
