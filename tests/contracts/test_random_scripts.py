"""Any PettingZoo environment that keeps its own rules: what it said is what the slots hold, once each."""

from __future__ import annotations

from harness import collect, make_plane
from hypothesis import given, settings
from hypothesis import strategies as st
from told_env import AGENTS, ToldEnv, episodes, paid

from sfmarl.config import Config
from sfmarl.envs.registry import make_vector_env
from sfmarl.workers.lockstep import LockstepSplit
from sfmarl.workers.routing import HomeRoute
from sfmarl.workers.waiting import InBlock

ENVS = 2


@settings(max_examples=60)
@given(
    scripts=st.lists(st.lists(episodes(), min_size=1, max_size=4), min_size=ENVS, max_size=ENVS),
    rollout=st.integers(1, 6),
    ring=st.integers(2, 3),
    period=st.integers(1, 5),
    teams=st.sampled_from(["auto", "each", "all"]),
)
def test_slots_hold_what_the_environment_said(scripts, rollout, ring, period, teams):
    """Every action is in a published slot once, with its reward, ending and true successor, whoever lives and dies.

    Nothing is there that did not happen, and no step before the newest published one is missing.
    """
    ToldEnv.scripts = scripts
    env = make_vector_env(Config("told_env:ToldEnv", teams=teams), ENVS, list(range(ENVS)))
    blocks = make_plane(env.spec, ENVS, rollout, ring=ring).blocks()
    split = LockstepSplit(env, blocks, HomeRoute(blocks), generation=0)
    slots = []
    for count in range(60):
        if split.advance():
            for block in blocks:
                where = InBlock(block)
                block.action[where.index] = count % 3
                block.policy_version[where.index] = 1
            split.step()
        if count % period == 0:
            slots += collect(blocks)
    slots += collect(blocks)
    rows: dict[tuple[int, int, int, int], object] = {}
    for slot in slots:
        for t in range(rollout):
            for column in range(slot.active.shape[1]):
                if not slot.active[t, column]:
                    continue
                row = e, episode, step, agent = tuple(int(x) for x in slot.obs[t, column])
                assert row not in rows, f"{row} is there twice"
                rows[row] = slot
                told = scripts[e][episode % len(scripts[e])]
                assert (
                    e == slot.lane and told.acts(agent, step) and slot.block.spec.team.agents[column] == AGENTS[agent]
                )
                assert slot.reward[t, column] == paid(e, episode, step, agent)
                ends = bool(slot.terminated[t, column]), bool(slot.truncated[t, column])
                assert ends == told.leaves(agent, step)
                assert slot.is_first[t, column] == (step == 0 or not told.acts(agent, step - 1))
                if not ends[0]:
                    assert [int(x) for x in slot.obs[t + 1, column]] == [e, episode, step + 1, agent]
    for e in range(ENVS):
        # slots of a lane are published in order: nothing before the newest published row of an agent is missing
        for agent in range(len(AGENTS)):
            mine = [row[1:3] for row in rows if row[0] == e and row[3] == agent]
            newest = max(mine, default=(0, -1))
            happened = {
                (episode, step)
                for episode in range(newest[0] + 1)
                for step in range(scripts[e][episode % len(scripts[e])].length)
                if scripts[e][episode % len(scripts[e])].acts(agent, step)
            }
            assert set(mine) == {when for when in happened if when <= newest}
    assert len(rows) > 0
    env.close()
