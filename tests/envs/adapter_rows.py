"""Rows for tests of the dict adapter, and a plain-loop reading of what they must hold."""

from __future__ import annotations

import numpy as np

from sfmarl.envs.parallel import ParallelVectorEnv
from sfmarl.envs.probe import probe
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows

POISON = 77


def build(envs, teams="auto", name="scripted"):
    found = probe(envs[0], name, teams)
    for env in envs:
        env.received, env.log, env.seeds = [], [], []
    return ParallelVectorEnv(envs, [100 + e for e in range(len(envs))], found.spec, found.codecs)


def poisoned(spec, num_envs):
    """Rows full of nonsense: whatever the adapter leaves out shows."""
    rows, outcome = new_obs_rows(spec, num_envs), new_outcome_rows(spec, num_envs)
    for row in rows:
        row.obs[...] = POISON
        row.active[...] = row.is_first[...] = True
        if row.action_mask is not None:
            row.action_mask[...] = False
        if row.state is not None:
            row.state[...] = POISON
    for row in outcome:
        row.reward[...] = POISON
        row.terminated[...] = row.truncated[...] = True
    return rows, outcome


def unmask(raw, info):
    if isinstance(raw, dict):
        return raw["observation"], raw["action_mask"]
    return raw, info.get("action_mask")


def expect_env(spec, e, alive, said, rows, outcome):
    """Compare env e's rows with what it said; return who is alive now, by agent."""
    now = {}
    for k, team in enumerate(spec.teams):
        for i, agent in enumerate(team.agents):
            acted = alive.get(agent, False)
            term = said.get("term", {}).get(agent, False)
            trunc = said.get("trunc", {}).get(agent, False)
            shown = agent in said["obs"]
            now[agent] = lives = agent in said["listed"] and shown and not (term or trunc)
            where = f"env {e} agent {agent}"
            assert rows[k].active[e, i] == lives, where
            assert rows[k].is_first[e, i] == (lives and not acted), where
            if shown and (lives or acted):
                vector, mask = unmask(said["obs"][agent], said["infos"].get(agent, {}))
                np.testing.assert_array_equal(rows[k].obs[e, i], vector, where)
            else:
                mask = None
                assert (rows[k].obs[e, i] == 0).all(), where
            if rows[k].action_mask is not None:
                legal = np.ones(4, bool) if mask is None or not lives else np.asarray(mask, bool)
                np.testing.assert_array_equal(rows[k].action_mask[e, i], legal, where)
            if outcome is None:
                continue
            bootstraps = acted and trunc and not term and shown
            assert outcome[k].truncated[e, i] == bootstraps, where
            assert outcome[k].terminated[e, i] == (acted and not lives and not bootstraps), where
            paid = said["rewards"].get(agent, 0.0) if acted else 0.0
            assert outcome[k].reward[e, i] == np.float32(paid), where
    return now
