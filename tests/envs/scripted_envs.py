"""ParallelEnvs whose every answer is written down beforehand or drawn at random, with a log of what they said."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

OBS_SIZE = 3


class ScriptedEnv(ParallelEnv):
    """Plays `script[t]`: a dict with `listed`, `obs` and optionally `rewards`, `term`, `trunc`, `infos`.

    `script[0]` is what reset says. Missing parts are zero, False and empty for the agents in `obs`. `obs` is a list of
    agents (who get [t, index, 0]) or a dict of what they get.
    """

    metadata: ClassVar = {}

    def __init__(self, agents: list, script: list[dict], obs_space=None, action_space=None) -> None:
        self.possible_agents = list(agents)
        self.agents: list = []
        self.script = script
        self.obs_space = obs_space or spaces.Box(-np.inf, np.inf, (OBS_SIZE,), np.float32)
        self.act_space = action_space or spaces.Discrete(4)
        self.received: list[dict] = []
        self.seeds: list[int | None] = []
        self.t = 0

    def observation_space(self, agent: Any) -> spaces.Space:
        return self.obs_space[agent] if type(self.obs_space) is dict else self.obs_space

    def action_space(self, agent: Any) -> spaces.Space:
        return self.act_space[agent] if type(self.act_space) is dict else self.act_space

    def _observations(self, said: dict) -> dict:
        if isinstance(said["obs"], dict):
            return dict(said["obs"])
        return {a: np.array([self.t, self.possible_agents.index(a), 0], np.float32) for a in said["obs"]}

    def reset(self, seed=None, options=None):
        self.t = 0
        self.seeds.append(seed)
        said = self.script[0]
        self.agents = list(said["listed"])
        return self._observations(said), said.get("infos", {})

    def step(self, actions):
        self.received.append(dict(actions))
        self.t += 1
        said = self.script[self.t]
        self.agents = list(said["listed"])
        observations = self._observations(said)
        return (
            observations,
            said.get("rewards", dict.fromkeys(observations, 0.0)),
            said.get("term", dict.fromkeys(observations, False)),
            said.get("trunc", dict.fromkeys(observations, False)),
            said.get("infos", {}),
        )


class ChaosEnv(ParallelEnv):
    """Agents die in every way an env can express, are born and re-born; everything said is kept in `log`.

    `masks` is None, "obs" or "info".
    """

    metadata: ClassVar = {}

    def __init__(self, agents=("a_0", "a_1", "b_0", 7, 8), masks=None, chaos=1.0, with_state=False) -> None:
        self.possible_agents = list(agents)
        self.agents: list = []
        self.masks = masks
        self.chaos = chaos
        self.with_state = with_state
        self.rng = np.random.default_rng()
        self.log: list[dict] = []
        self.received: list[dict] = []
        self.t = 0

    def observation_space(self, agent):
        size = OBS_SIZE + (str(agent).startswith("b"))
        box = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        if self.masks != "obs":
            return box
        return spaces.Dict({"observation": box, "action_mask": spaces.MultiBinary(4)})

    def action_space(self, agent):
        return spaces.Discrete(4, start=0 if isinstance(agent, str) else 3)

    def state(self):
        if not self.with_state:
            raise NotImplementedError
        return np.array([[self.t, len(self.agents)]], np.float64)

    def _observe(self, agents) -> tuple[dict, dict]:
        observations, infos = {}, {}
        for agent in agents:
            vector = self.rng.normal(size=OBS_SIZE + (str(agent).startswith("b"))).astype(np.float32)
            mask = self.rng.random(4) < 0.5
            mask[self.rng.integers(4)] = True
            in_obs = self.masks == "obs"
            observations[agent] = {"observation": vector, "action_mask": mask.astype(np.int8)} if in_obs else vector
            infos[agent] = {"action_mask": mask} if self.masks == "info" else {}
        return observations, infos

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.t = 0
        alive = [a for a in self.possible_agents if self.rng.random() > 0.3 * self.chaos] or [self.possible_agents[0]]
        self.agents = alive
        observations, infos = self._observe(alive)
        self.log.append({"listed": list(alive), "obs": observations, "infos": infos})
        return observations, infos

    def step(self, actions):
        self.received.append(dict(actions))
        self.t += 1
        listed, seen, term, trunc, rewards = [], [], {}, {}, {}
        for agent in self.possible_agents:
            alive = agent in self.agents
            fate = self.rng.random() / self.chaos if self.chaos else 1.0
            if alive:
                term[agent], trunc[agent] = False, False
                if self.rng.random() > 0.1 * self.chaos:
                    rewards[agent] = float(self.rng.normal())
                stays = fate > 0.3
                missing = fate < 0.1
                if stays or fate > 0.25:
                    listed.append(agent)
                if not missing:
                    seen.append(agent)
                if not stays and not fate < 0.04:
                    which = self.rng.integers(3)
                    term[agent], trunc[agent] = bool(which != 1), bool(which != 0)
                if fate < 0.02:
                    del term[agent], trunc[agent]
            elif fate < 0.25:
                listed.append(agent)
                seen.append(agent)
            elif fate < 0.3:
                # the dead go on being told what they see
                seen.append(agent)
                rewards[agent] = 5.0
        if self.rng.random() < 0.05:
            for agent in seen:
                trunc[agent] = True
            listed = []
        self.agents = listed
        observations, infos = self._observe(seen)
        said = {"listed": listed, "obs": observations, "infos": infos, "rewards": rewards, "term": term, "trunc": trunc}
        self.log.append(said)
        return observations, rewards, term, trunc, infos


def chaos_env(**kwargs) -> ChaosEnv:
    """Named by tests as `scripted_envs:chaos_env`."""
    return ChaosEnv(**kwargs)


def raising_env(at_step: int = 0, at_construction: bool = False) -> ScriptedEnv:
    """An env that raises ValueError at construction or at a step of its own life."""
    if at_construction:
        raise ValueError("no such map")

    class Raising(ScriptedEnv):
        def step(self, actions):
            if self.t + 1 == at_step:
                raise ValueError("the physics exploded")
            return super().step(actions)

    both = {"listed": ["x_0", "x_1"], "obs": ["x_0", "x_1"]}
    return Raising(["x_0", "x_1"], [both] * 500)
