"""Run directories as an untrained run leaves them, for tests of what is loaded from them."""

from __future__ import annotations

from pathlib import Path

import torch

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config
from sfmarl.envs.registry import load_spec
from sfmarl.specs import PolicySpec
from sfmarl.storage import checkpoint as checkpoints
from sfmarl.storage.checkpoint import Seat
from sfmarl.storage.config_file import write_config

SPREAD = Config(env="mpe2.simple_spread_v3", env_kwargs={"N": 3}, algo="ippo")
MIXED = Config(env="toy_envs:Mixed", algo="ippo")


def save_run(
    run_dir: Path, config: Config, sharing: str = "full", env_steps: int = 100, seed: int = 0, noise: float = 1.0
) -> dict:
    """Write what an untrained run of `config` would; returns {policy: (spec, actor)}."""
    entry, players, seats = get_algorithm(config.algo), {}, {}
    spec, hp = load_spec(config), config.hp or entry.hyperparameters()
    run_dir.mkdir(parents=True, exist_ok=True)
    write_config(config, run_dir / "config.json")
    tmp = checkpoints.begin(run_dir, env_steps)
    for team in spec.teams:
        name = config.policies.get(team.name, team.name)
        seats[team.name] = Seat(name, team.agents)
        sets = tuple(range(len(team.agents))) if sharing == "none" else (0,) * len(team.agents)
        policy = PolicySpec(name, team.obs, team.action, team.has_mask, team.agents, sets)
        algorithm = entry.cls(policy, hp, torch.device("cpu"), seed)
        with torch.no_grad():  # the first policy is nearly uniform: make its choices clear
            for parameter in algorithm.actor.parameters():
                parameter.add_(noise * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
        if name not in players:
            state = algorithm.state_dict()
            checkpoints.write_policy(tmp, policy, config.algo, hp, algorithm.actor, state, 7)
        players[name] = policy, algorithm.actor
    checkpoints.commit(tmp, {}, seats)
    return players
