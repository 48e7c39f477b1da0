"""A data plane with stand-ins for inference and learning, and what the collected slots must look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from script import choice, reward

from sfmarl.memory.block import Block
from sfmarl.memory.plane import DataPlane, PlaneSpec
from sfmarl.specs import EnvSpec
from sfmarl.workers.gather import Staging, find_ready
from sfmarl.workers.waiting import InBlock

FIELDS = Staging.FIELDS


def make_plane(
    env: EnvSpec, envs: int, rollout: int, ring: int = 2, policies: int | tuple[int, ...] | None = None, **more
) -> DataPlane:
    """Return a data plane of one worker with one split; every team has a policy of its own unless `policies` is 1 or
    says which (negative: of a player that does not learn)."""
    teams = len(env.teams)
    policy_of_team = {None: tuple(range(teams)), 1: (0,) * teams}.get(policies, policies)
    sizes = (3,) * (max(policy_of_team) + 1)
    return DataPlane.create(
        PlaneSpec(
            env, 1, 1, envs, 1, rollout, ring, policy_of_team, sizes, stores_state=env.state_shape is not None, **more
        )
    )


def log_prob(obs: np.ndarray) -> np.ndarray:
    """The stand-in's log-probability: a function of what it saw, so that a row that moved is noticed."""
    return -np.nan_to_num(obs).sum(-1).astype(np.float32)


def act(blocks: list[Block], version: int = 1) -> None:
    """Stand in for the inference worker: answer every row at the cursors."""
    for block in blocks:
        if block.spec.lockstep or block.wants_action.any():
            where = InBlock(block)
            seen = block.obs[where.index]
            block.action[where.index] = choice(seen)
            block.log_prob[where.index] = log_prob(seen)
            block.policy_version[where.index] = version


def act_frozen(scratch: list) -> None:
    """Stand in for whoever acts for the players that do not learn."""
    for seat in scratch:
        seat.action[...] = choice(seat.obs)


@dataclass
class Slot:
    """A copy of one lane's slot: every field with the lane axis gone, [T(+1), A, ...]."""

    block: Block
    lane: int
    number: int
    fields: dict[str, np.ndarray]

    def __getattr__(self, name: str) -> np.ndarray:
        return self.fields[name]


def collect(blocks: list[Block]) -> list[Slot]:
    """Stand in for the learner: take, copy and release what is READY."""
    slots = []
    for part in find_ready(blocks):
        part.take()
        for lane in np.arange(part.block.spec.lanes)[part.lanes]:
            fields = {
                name: array[part.ring][:, lane].copy()
                for name in FIELDS
                if (array := getattr(part.block, name)) is not None
            }
            slots.append(Slot(part.block, int(lane), int(part.block.slots.number[part.ring, lane]), fields))
        part.release()
    return slots


def acted_rows(slots: list[Slot]) -> dict[tuple[int, int, int], dict[int, tuple]]:
    """Return (env, episode, agent) -> step -> (slot, t, column) of all active rows; a row twice fails."""
    rows: dict[tuple[int, int, int], dict[int, tuple]] = {}
    for slot in slots:
        steps, agents = slot.reward.shape
        for t in range(steps):
            for a in range(agents):
                if slot.active[t, a]:
                    env, episode, step, agent, _ = (int(x) for x in slot.obs[t, a])
                    of_agent = rows.setdefault((env, episode, agent), {})
                    assert step not in of_agent, f"step {step} of {env, episode, agent} appears twice"
                    of_agent[step] = (slot, t, a)
    return rows


def check_rows(slots: list[Slot], check_reward: bool = True) -> None:
    """What holds for every active row, whatever the kind of environment (design invariants 1 and 3)."""
    for slot in slots:
        steps, agents = slot.reward.shape
        for t in range(steps):
            for a in range(agents):
                if not slot.active[t, a]:
                    continue
                seen = slot.obs[t, a]
                env, episode, step, agent, lives = (int(x) for x in seen)
                assert slot.action[t, a] == choice(seen)
                assert slot.log_prob[t, a] == log_prob(seen)
                assert slot.action_mask[t, a][choice(seen)] and slot.action_mask[t, a].sum() == 2
                assert slot.policy_version[t] >= 1
                if check_reward:
                    assert slot.reward[t, a] == reward(env, episode, step, agent)
                if not slot.terminated[t, a]:
                    successor = [int(x) for x in slot.obs[t + 1, a]]
                    lockstep = slot.block.spec.lockstep
                    # the last entry counts lives in parallel games and own moves in turn-based ones
                    assert successor[:2] == [env, episode]
                    assert successor[3:] == [agent, lives if lockstep else lives + 1]
                    assert successor[2] == step + 1 if lockstep else successor[2] > step
                if slot.truncated[t, a] and t + 1 < steps:
                    assert not slot.active[t + 1, a], "a phantom step is nobody's sample"
