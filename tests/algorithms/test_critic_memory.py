"""What a recurrent critic knows of a lane when its next slot comes."""

from __future__ import annotations

import pytest
import torch

from sfmarl.algorithms.base import Batch
from sfmarl.algorithms.critic_memory import CriticMemory
from sfmarl.algorithms.rows import lane_is_first
from tests.algorithms.synthetic_batches import acted_batch, policy_spec
from tests.algorithms.test_ppo import algorithm

AGENTS, SIZE, LANES = 2, 3, 5


def slots(lanes: list[int], numbers: list[int], generations: list[int] | None = None) -> Batch:
    nothing = torch.zeros(1, len(lanes), AGENTS)
    return Batch(
        *(nothing for _ in range(9)),
        lane=torch.tensor(lanes),
        number=torch.tensor(numbers),
        generation=torch.tensor(generations or [0] * len(lanes)),
        num_lanes=LANES,
    )


def states(*values: float, central=False) -> torch.Tensor:
    shape = (SIZE,) if central else (AGENTS, SIZE)
    return torch.stack([torch.full(shape, float(value)) for value in values])


@pytest.mark.parametrize("central", [False, True])
def test_only_the_following_slot_of_the_same_life_knows(central):
    memory = CriticMemory(SIZE, central, torch.device("cpu"))
    first = slots([0, 1, 3], [4, 4, 7])
    assert memory.recall(first).eq(0).all()
    memory.keep(first, states(1, 2, 3, central=central))
    #                     follows, follows, a gap, never seen
    again = memory.recall(slots([3, 0, 1, 4], [8, 5, 6, 0]))
    torch.testing.assert_close(again, states(3, 1, 0, 0, central=central))
    reborn = memory.recall(slots([3, 0], [8, 5], [1, 0]))
    torch.testing.assert_close(reborn, states(0, 1, central=central))


def test_of_two_slots_of_a_lane_the_later_counts_wherever_it_stands():
    memory = CriticMemory(SIZE, True, torch.device("cpu"))
    batch = slots([2, 0, 2], [6, 1, 5])
    memory.recall(batch)
    memory.keep(batch, states(6, 1, 5, central=True))
    torch.testing.assert_close(memory.recall(slots([2, 2], [7, 6])), states(6, 0, central=True))


def test_an_episode_begins_where_everybody_alive_begins():
    batch = slots([0], [0])
    batch.active = torch.tensor([[[1, 1]], [[1, 1]], [[1, 0]], [[1, 1]], [[0, 0]], [[0, 1]]]).bool()
    #                              episode   goes on   one dead  birth     phantom   episode of one
    batch.is_first = torch.tensor([[[1, 1]], [[0, 0]], [[0, 0]], [[0, 1]], [[0, 0]], [[0, 1]]]).bool()
    assert lane_is_first(batch)[:, 0].tolist() == [True, False, False, False, False, True]


@pytest.mark.parametrize("minibatches", [1, 2])
@pytest.mark.parametrize("source", ["own", "env"])
def test_a_learner_carries_the_critics_memory_from_slot_to_slot(source, minibatches):
    """Values of a trajectory cut into two slots are those of the trajectory in one piece (learning rate 0)."""
    preset = "mappo" if source == "env" else "ippo"
    spec = policy_spec(source=source, state_shape=(4,))
    settings = {"critic_rnn": "gru", "rnn_size": 6, "lr": 0.0, "epochs": 2, "minibatches": minibatches}
    settings |= {"normalise_values": False, "normalise_obs": False, "gamma": 0.0}
    algo = algorithm(preset, spec, **settings)
    whole = acted_batch(spec, algo.actor, steps=8, cuts=False)
    whole.is_first[3, 2] = True

    def cut(first: int, last: int, number: int) -> Batch:
        parts = {}
        for name, x in vars(whole).items():
            if isinstance(x, torch.Tensor) and name not in ("lane", "number", "generation"):
                x = x[first : last + (x.shape[0] == 9)]
            parts[name] = x
        parts["number"] = torch.full_like(whole.number, number)
        return Batch(**parts)

    def value_mean(algo, *batches) -> list[float]:
        return [float(algo.update(batch, 0.0)["value_mean"]) for batch in batches]

    early, late = value_mean(algo, cut(0, 3, 0), cut(3, 8, 1))
    (once,) = value_mean(algorithm(preset, spec, **settings), cut(0, 8, 0))
    assert (3 * early + 5 * late) / 8 == pytest.approx(once, abs=1e-5)
    forgetful = algorithm(preset, spec, **settings)
    _, other = value_mean(forgetful, cut(0, 3, 0), cut(3, 8, 2))
    assert abs(other - late) > 1e-4
