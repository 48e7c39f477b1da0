"""An environment whose every observation, reward and ending is known beforehand: the ruler slots are measured with.

The script of an episode is a pure function of (env, episode). An observation says where it comes from:

    obs = [env, episode, step, agent, lives]     float32, agent counted over all teams, lives = how often it was born

so whoever holds a slot can tell what each row is, and what must follow it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sfmarl.specs import ActionSpec, EnvSpec, ObsSpec, TeamSpec

OBS = 5
CHOICES = 7


@dataclass(frozen=True)
class Episode:
    """What will happen."""

    length: int
    truncated: bool
    death: dict[int, int] = field(default_factory=dict)
    """Agent -> the step whose outcome is its death (it acts at that step for the last time)."""
    birth: dict[int, int] = field(default_factory=dict)
    """Agent -> the step at which it first acts again (after its death) or at all."""

    def alive(self, agent: int, step: int) -> bool:
        """Whether the agent acts at `step`."""
        if step >= self.length:
            return False
        born, dies = self.birth.get(agent, 0), self.death.get(agent, self.length)
        return (step <= dies or step >= born > dies) if dies < born else born <= step <= dies

    def lives(self, agent: int, step: int) -> int:
        """How many lives of the agent have begun before or at `step`."""
        return sum(self.alive(agent, k) and not self.alive(agent, k - 1) for k in range(1, step + 1)) + self.alive(
            agent, 0
        )


def script(env: int, episode: int, agents: int, seed: int = 0, deaths: bool = True) -> Episode:
    """Return the script: lengths 1..9, terminations and truncations, deaths, births, deaths followed by births."""
    rng = np.random.default_rng((seed, env, episode))
    length = int(rng.integers(1, 10))
    death, birth = {}, {}
    if deaths and length > 2:
        for agent in range(1, agents):  # agent 0 lives throughout: an episode without anybody alive would be over
            fate = rng.integers(0, 4)
            if fate == 1:
                death[agent] = int(rng.integers(0, length - 1))
            elif fate == 2:
                birth[agent] = int(rng.integers(1, length))
            elif fate == 3 and length > 4:
                death[agent] = int(rng.integers(0, length - 3))
                birth[agent] = death[agent] + int(rng.integers(2, 4))
                if birth[agent] >= length:
                    del birth[agent]
    return Episode(length, bool(rng.integers(0, 2)), death, birth)


def reward(env: int, episode: int, step: int, agent: int) -> float:
    """Return what the agent earns for its action at `step`: unique, exact in float32."""
    return float(((env * 64 + episode) % 4096) * 64 + step * 4 + agent % 4 + 1)


def choice(obs: np.ndarray) -> np.ndarray:
    """Return the action that belongs to observations [..., OBS]: what the stand-in policy does, and the env expects."""
    weights = np.array([3, 5, 7, 11, 13])
    return ((np.nan_to_num(obs) * weights).sum(-1) % CHOICES).astype(np.int32)


def mask_of(obs: np.ndarray) -> np.ndarray:
    """Return the action mask [..., CHOICES] that belongs to observations: the right action and one other."""
    right = choice(obs)[..., None]
    return (np.arange(CHOICES) == right) | (np.arange(CHOICES) == (right + 2) % CHOICES)


def spec(team_sizes: tuple[int, ...], turn_based: bool = False, state: bool = False) -> EnvSpec:
    """Return the specification: teams `t0`, `t1`, ... with masks."""
    teams, first = [], 0
    for index, size in enumerate(team_sizes):
        agents = tuple(f"a{first + i}" for i in range(size))
        action = ActionSpec("discrete", nvec=(CHOICES,), start=(0,))
        teams.append(TeamSpec(f"t{index}", agents, ObsSpec((OBS,), np.dtype(np.float32)), action, has_mask=True))
        first += size
    return EnvSpec("scripted", tuple(teams), turn_based=turn_based, state_shape=(2,) if state else None)


class ScriptedVectorEnv:
    """The script behind the vector protocol. It fails the test when it is handed an action that does not belong."""

    def __init__(self, env_spec: EnvSpec, num_envs: int, seed: int = 0, deaths: bool = True) -> None:
        self.spec = env_spec
        self.num_envs = num_envs
        self.seed, self.deaths = seed, deaths
        self.episode = np.full(num_envs, -1)
        self.step_of = np.zeros(num_envs, int)
        self._first = np.cumsum([0] + [len(team.agents) for team in env_spec.teams])

    def current(self, env: int) -> Episode:
        return script(env, int(self.episode[env]), self.spec.num_agents, self.seed, self.deaths)

    def _observe(self, env: int, out, final: bool) -> None:
        episode, step = self.current(env), int(self.step_of[env])
        for team, rows in enumerate(out):
            for index in range(len(self.spec.teams[team].agents)):
                agent = int(self._first[team]) + index
                acts = not final and episode.alive(agent, step)
                acted = step > 0 and episode.alive(agent, step - 1)
                rows.active[env, index] = acts
                rows.is_first[env, index] = acts and not acted
                if acts or acted:  # also the final observation of whoever just left
                    rows.obs[env, index] = (env, self.episode[env], step, agent, episode.lives(agent, step))
                    rows.action_mask[env, index] = mask_of(rows.obs[env, index])
                else:
                    rows.obs[env, index] = 0
                    rows.action_mask[env, index] = True
            if rows.state is not None:
                rows.state[env] = (self.episode[env], step)

    def reset(self, envs, out) -> None:
        for env in envs:
            self.episode[env] += 1
            self.step_of[env] = 0
            self._observe(env, out, final=False)

    def step(self, actions, running, out, outcome) -> np.ndarray:
        ended = np.zeros(self.num_envs, bool)
        for env in np.flatnonzero(running):
            episode, step = self.current(env), int(self.step_of[env])
            ended[env] = step + 1 == episode.length
            for team, result in enumerate(outcome):
                for index in range(len(self.spec.teams[team].agents)):
                    agent = int(self._first[team]) + index
                    if not episode.alive(agent, step):
                        continue
                    seen = np.array((env, self.episode[env], step, agent, episode.lives(agent, step)))
                    assert actions[team][env, index] == choice(seen), f"a foreign action for {seen}"
                    result.reward[env, index] = reward(env, int(self.episode[env]), step, agent)
                    died = not ended[env] and not episode.alive(agent, step + 1)
                    result.terminated[env, index] = died or (ended[env] and not episode.truncated)
                    result.truncated[env, index] = ended[env] and episode.truncated
            self.step_of[env] += 1
            self._observe(env, out, final=bool(ended[env]))
        return ended

    def close(self) -> None:
        pass
