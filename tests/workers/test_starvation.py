"""Agents of very unequal pace: the rings of those that act often fill before a batch is complete."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from worker_parts import CountingAlgorithm, EchoActing, choice, env_spec, make_plane, publish_slot

from sfmarl.envs.turns import Turn
from sfmarl.memory.queues import LocalQueue
from sfmarl.workers.inference import InferenceWorker, PolicySlot
from sfmarl.workers.learner import ROWS, UPDATES, LearnerWorker
from sfmarl.workers.rollout import RolloutWorker
from sfmarl.workers.turns import TurnSplit

AGENTS = 6
ENVS = 3


class Lopsided:
    """Agent 0 moves nearly always, the last one at every 40th turn, the others never; the game does not end."""

    def __init__(self, spec, env: int) -> None:
        self.spec, self.env, self.clock = spec, env, 0
        self._seats = [(seat, i) for seat, team in enumerate(spec.teams) for i in range(len(team.agents))]

    def reset(self, seed=None) -> None:
        self.clock = 0

    def turn(self) -> Turn:
        seat, agent = self._seats[-1 if self.clock % 40 == 39 else 0]
        return Turn(seat, agent, 1.0, False, False)

    def observe(self, obs, action_mask, state) -> None:
        obs[...] = (self.env, self.clock)

    def act(self, action) -> None:
        assert action == choice(np.array([self.env, self.clock], np.float32))
        self.clock += 1

    def close(self) -> None:
        pass


class Run:
    """All workers of an asynchronous run, called one after the other."""

    def __init__(self, team_sizes, policy_of_team, workers=1) -> None:
        spec = env_spec(team_sizes, turn_based=True)
        self.plane = make_plane(spec, workers=workers, envs_per_split=ENVS, ring=2, policy_of_team=policy_of_team)
        self.words = self.plane.words()
        policies = self.plane.spec.policies
        inboxes = [LocalQueue() for _ in range(workers)]
        requests = LocalQueue()
        stores = [self.plane.weights(p) for p in range(policies)]
        self.algorithms = [CountingAlgorithm() for _ in range(policies)]
        self.learners = [
            LearnerWorker(
                policy=p,
                algorithm=self.algorithms[p],
                version=0,
                blocks=self.plane.blocks(policy=p),
                weights=stores[p],
                words=self.words,
                batch_lanes=self.plane.spec.lanes_of_policy(p),
                env_steps=1000,
                device=torch.device("cpu"),
                report=lambda kind, payload: None,
                max_policy_lag=1000,
                sync=False,
            )
            for p in range(policies)
        ]
        slots = [PolicySlot(EchoActing(), store) for store in stores]
        self.inference = InferenceWorker(
            0, self.plane.blocks(), slots, self.words, range(workers), requests, dict(enumerate(inboxes))
        )
        self.rollouts = []
        for w in range(workers):
            envs = [Lopsided(spec, e) for e in range(ENVS)]
            split = TurnSplit(envs, self.plane.blocks(worker=w), 0, stores, 1000)
            self.rollouts.append(RolloutWorker(w, 0, [split], self.words, inboxes[w], requests, lambda *_: None))

    def play(self, passes: int, learn: bool = True) -> int:
        """Return the env-steps taken in so many passes."""
        before = self.words.counts["rollout"][:, 0].sum()
        for _ in range(passes):
            for rollout in self.rollouts:
                rollout.run_once(timeout=0)
            self.inference.run_once(timeout=0)
            for learner in self.learners if learn else ():
                learner.run_once(wait=False)
        return int(self.words.counts["rollout"][:, 0].sum() - before)


@pytest.mark.parametrize(
    ("team_sizes", "policy_of_team"),
    [((AGENTS,), (0,)), ((1,) * AGENTS, (0,) * AGENTS), ((3, 3), (0, 1))],
    ids=["one team", "self-play", "two policies"],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_unequal_agents_do_not_starve_the_learner(team_sizes, policy_of_team, workers):
    """A slot of every lane would be a batch, and most never fill one: the learner takes what there is."""
    run = Run(team_sizes, policy_of_team, workers)
    run.play(50)
    assert run.play(300) >= 250 * ENVS * workers
    for policy, algorithm in enumerate(run.algorithms):
        assert policy or algorithm.batches
        for batch in algorithm.batches:
            assert batch["active"].shape[1] < run.plane.spec.lanes_of_policy(0)
            # only closed steps, each acted on what the row shows
            active = batch["active"][:-1]
            np.testing.assert_array_equal(batch["action"][active], choice(batch["obs"][:-1][active].numpy()))
            assert (batch["reward"][active] == 1.0).all()
    rows = run.words.counts["learner"][0, ROWS]
    assert rows == sum(batch["reward"].numel() for batch in run.algorithms[0].batches)


def test_the_learner_waits_while_any_worker_can_go_on():
    """A smaller batch is the last resort: not while a worker has a row to act from."""
    run = Run((AGENTS,), (0,), workers=2)
    run.play(100, learn=False)
    assert run.words.starving.all()
    run.words.starving[1] = 0
    assert not run.learners[0].run_once(wait=False)
    run.words.starving[1] = 1
    assert run.learners[0].run_once(wait=False)
    assert run.words.counts["learner"][0, UPDATES] == 1
    run.play(1, learn=False)
    assert not run.words.starving.any()


def test_only_the_policy_that_is_waited_for_takes_less():
    run = Run((3, 3), (0, 1))
    run.play(100, learn=False)
    assert run.words.starving.tolist() == [[1, 0]]
    other = run.plane.blocks(policy=1)[0]
    publish_slot(other, 1, 0)
    assert not run.learners[1].run_once(wait=False)
    assert run.learners[0].run_once(wait=False)
