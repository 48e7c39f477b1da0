"""A bank of policies acts, row by row, as each of them does alone."""

from __future__ import annotations

import functools
import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sfmarl.models.acting import Acting, flat_size, flatten_into, make_acting
from sfmarl.models.acting_numpy import NumpyActing
from sfmarl.models.actor import Actor
from sfmarl.models.bank import WeightBank, at_once, bank_bytes
from sfmarl.models.bank_blocks import Blocks
from sfmarl.models.bank_segments import Segments
from sfmarl.models.encoders import NetConfig
from sfmarl.specs import ObsSpec, PolicySpec
from tests.algorithms.synthetic_batches import policy_spec
from tests.models.test_acting import SETS, learners_log_prob, lively_actor, random_inputs

K = 7
EMPTY = 3
"""A bank slot that was never loaded."""


def flat_of(actor: Actor) -> np.ndarray:
    flat = np.empty(flat_size(actor), np.float32)
    flatten_into(actor, flat)
    return flat


@functools.cache
def alone(actor: Actor) -> Acting:
    """What acts for one policy."""
    return make_acting(actor, actor.spec, "cpu", 0)


def filled(spec: PolicySpec, **config) -> tuple[WeightBank, dict[int, Actor]]:
    """A bank with one empty slot, and who is in the others."""
    config = {"hidden": (8, 7), **config}
    actors = {k: lively_actor(spec, seed=k, **config) for k in range(K) if k != EMPTY}
    bank = WeightBank(actors[0], spec, K, "cpu", seed=0)
    for k, actor in actors.items():
        bank.load(k, flat_of(actor))
    return bank, actors


def mixes(rows: int) -> list[np.ndarray]:
    """Who plays each row: everybody, a few, one, one who plays nearly all."""
    rng = np.random.default_rng(0)
    everybody, few = np.delete(np.arange(K), EMPTY), np.array([1, 6])
    skewed = np.zeros(rows, np.int64)
    skewed[::9] = rng.choice(everybody, len(skewed[::9]))
    return [rng.choice(everybody, rows), rng.choice(few, rows), np.full(rows, 4), skewed]


def assert_each_row_is_its_players(act, spec, actors, indexed, slot) -> None:
    """Actions are greedily those of each row's player; log-probabilities, of greedy and drawn actions, too."""
    rows = len(slot)
    obs, mask, index = random_inputs(spec, rows=rows, indexed=indexed, seed=rows)
    for greedy in (True, False):
        action, log_prob = act(obs, slot, mask, index, greedy)
        assert action.dtype == spec.action.dtype and action.shape == (*obs.shape[:2], *spec.action.shape)
        assert log_prob.dtype == np.float32 and log_prob.shape == obs.shape[:2]
        for k in np.unique(slot).tolist():
            own = slot == k
            seen, legal, whose = (None if x is None else x[own] for x in (obs, mask, index))
            if greedy:
                expected = alone(actors[k]).act(seen, legal, whose, greedy=True)[0]
                np.testing.assert_allclose(action[own], expected, atol=1e-5)
            expected = learners_log_prob(actors[k], seen, legal, whose, action[own])
            np.testing.assert_allclose(log_prob[own], expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def in_torch(monkeypatch):
    """What acts in NumPy otherwise does so in torch."""
    monkeypatch.setattr(NumpyActing, "supports", staticmethod(lambda actor: False))


@pytest.mark.parametrize("indexed", [False, True], ids=["columns", "indexed"])
@pytest.mark.parametrize("sets", SETS.values(), ids=SETS.keys())
@pytest.mark.parametrize(("kind", "masked"), [("discrete", False), ("multi_discrete", True)])
@pytest.mark.parametrize(
    "config", [{}, {"activation": "relu", "normalise_obs": False, "agent_id": False}, {"hidden": ()}], ids=str
)
def test_rows_of_many_policies_in_numpy(config, kind, masked, sets, indexed):
    spec = policy_spec(kind, masked=masked, sets=sets)
    bank, actors = filled(spec, **config)
    assert isinstance(bank.batched, Segments)
    everybody, few, one, skewed = mixes(23)
    for act in (bank.act, bank.batched.act, bank.one_by_one):
        for slot in (everybody, few[:5], skewed, one[:2]):
            assert_each_row_is_its_players(act, spec, actors, indexed, slot)


@pytest.mark.parametrize("indexed", [False, True], ids=["columns", "indexed"])
@pytest.mark.parametrize("sets", SETS.values(), ids=SETS.keys())
@pytest.mark.parametrize(("kind", "masked"), [("discrete", False), ("multi_discrete", True), ("continuous", False)])
def test_rows_of_many_policies_in_torch(kind, masked, sets, indexed, in_torch):
    spec = policy_spec(kind, masked=masked, sets=sets)
    config = {} if indexed else {"activation": "relu", "hidden": (6,), "agent_id": False}
    bank, actors = filled(spec, **config)
    assert isinstance(bank.batched, Blocks)
    everybody, few, one, skewed = mixes(150)  # blocks of fewer rows than a policy has
    for act in (bank.act, bank.batched.act, bank.one_by_one):
        for slot in (everybody, few[:5], skewed, one[:2]):
            assert_each_row_is_its_players(act, spec, actors, indexed, slot)


@settings(max_examples=20)
@given(st.lists(st.sampled_from([0, 1, 2, 4, 5, 6]), min_size=1, max_size=40), st.sampled_from(sorted(SETS)))
def test_any_mix_of_policies_acts_as_they_do_alone(bank_slots, sets):
    spec = policy_spec("multi_discrete", masked=True, sets=SETS[sets])
    bank, actors = filled(spec, hidden=(4,))
    slot = np.array(bank_slots)
    for act in (bank.batched.act, bank.one_by_one):
        assert_each_row_is_its_players(act, spec, actors, False, slot)


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_loading_one_policy_leaves_the_others_untouched(kind):
    spec = policy_spec(kind)
    bank, _ = filled(spec)
    seeds = itertools.count(100)
    obs = random_inputs(spec, rows=K - 1)[0]
    slot = np.delete(np.arange(K), EMPTY)
    for act in (bank.act, bank.batched.act, bank.one_by_one):
        before = act(obs, slot, None, None, True)[1].copy()
        flat = flat_of(lively_actor(spec, seed=next(seeds), hidden=(8, 7)))
        bank.load(4, flat)
        flat[:] = 0.0
        changed = (act(obs, slot, None, None, True)[1] != before).any(1)
        assert changed.tolist() == [k == 4 for k in slot]


@pytest.mark.parametrize("kind", ["discrete", "multi_discrete"])
@pytest.mark.parametrize("torch_path", [False, True], ids=["numpy", "torch"])
def test_sampling_frequencies(kind, torch_path, request):
    if torch_path:
        request.getfixturevalue("in_torch")
    spec = policy_spec(kind, agents=1, masked=True)
    bank, actors = filled(spec)
    row = random_inputs(spec, rows=1)[0] * np.float32(0.2)
    legal = np.ones((1, 1, spec.action.mask_size), bool)
    legal[..., 1] = False
    rows = 60_000
    slot = np.tile([0, 1, 2, 4, 5, 6], rows // 6)
    action, _ = bank.act(np.repeat(row, rows, 0), slot, np.repeat(legal, rows, 0))
    choices = np.array(list(np.ndindex(*spec.action.nvec))).astype(np.int32)
    choices = choices[:, None] if kind == "multi_discrete" else choices
    for k in (0, 6):
        n = len(choices)
        said = learners_log_prob(actors[k], np.repeat(row, n, 0), np.repeat(legal, n, 0), None, choices)[:, 0]
        said = said.astype(np.float64)
        drawn = action[slot == k]
        counts = np.array([(drawn == choice).reshape(len(drawn), -1).all(1).sum() for choice in choices])
        possible = np.exp(said) > 0
        assert counts[~possible].sum() == 0
        expected = np.exp(said[possible]) / np.exp(said[possible]).sum() * len(drawn)
        common = expected >= 5
        assert common.sum() > 1
        seen, thought = (np.append(x[common], x[~common].sum()) for x in (counts[possible], expected))
        assert stats.chisquare(seen[thought > 0], thought[thought > 0]).pvalue > 1e-3


def test_actions_are_a_function_of_the_seed():
    spec = policy_spec()
    actors = [lively_actor(spec, seed=k) for k in range(3)]
    obs, _, _ = random_inputs(spec, rows=60)
    runs = []
    for seed in (1, 1, 2):
        bank = WeightBank(actors[0], spec, 3, "cpu", seed)
        for k, actor in enumerate(actors):
            bank.load(k, flat_of(actor))
        runs.append([bank.act(obs, np.arange(60) % (1 + step))[0].copy() for step in range(3)])
    assert all(np.array_equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int16])
@pytest.mark.parametrize("normalise", [False, True])
def test_stored_dtypes_are_taken_as_they_are(dtype, normalise):
    base = policy_spec()
    spec = PolicySpec("p", ObsSpec((5,), np.dtype(dtype)), base.action, False, base.agents, base.parameter_set)
    bank, actors = filled(spec, normalise_obs=normalise)
    obs, _, _ = random_inputs(spec, rows=20)
    strided = np.empty((40, *obs.shape[1:]), dtype)[::2]
    strided[...] = obs
    slot = mixes(20)[0]
    for act in (bank.batched.act, bank.one_by_one):
        action, log_prob = act(strided, slot, None, None, False)
        for k in np.unique(slot):
            own = slot == k
            expected = learners_log_prob(actors[k], obs[own], None, None, action[own])
            np.testing.assert_allclose(log_prob[own], expected, rtol=1e-4, atol=1e-5)


def test_bank_slots_that_hold_nobody_do_not_act():
    spec = policy_spec()
    bank, _ = filled(spec)
    obs, _, _ = random_inputs(spec, rows=3)
    for slot in ([0, EMPTY, 1], [0, 1, K], [-1, 0, 0]):
        with pytest.raises(ValueError, match="loaded"):
            bank.act(obs, np.array(slot))
    with pytest.raises(ValueError, match="bank of 0"):
        WeightBank(Actor(spec, NetConfig()), spec, 0, "cpu", 0)


def test_many_policies_act_together_where_they_can(monkeypatch):
    spec = policy_spec()
    bank, _ = filled(spec)
    obs, _, _ = random_inputs(spec, rows=4)
    called = []
    for owner, name in ((bank.batched, "act"), (bank, "one_by_one")):
        monkeypatch.setattr(owner, name, lambda *args, name=name: called.append(name))
    for slot in ([0, 1, 2, 4], [0, 0, 0, 1], [5, 5, 5, 5]):
        bank.act(obs, np.array(slot))
    assert called == ["act", "act"]
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [at_once(n, 64, cuda, in_numpy=False) for n in (1, 4, 5, 64)] == [False, False, True, True]
    assert [at_once(n, 2048, cpu, in_numpy=False) for n in (1, 7, 8, 64)] == [False, False, True, True]
    assert [at_once(n, 2048, cpu, in_numpy=True) for n in (1, 2, 64)] == [False, True, True]


@pytest.mark.parametrize("config", [{}, {"rnn": "gru"}, {"layer_norm": True}], ids=str)
@pytest.mark.parametrize("sets", SETS.values(), ids=SETS.keys())
@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_its_memory_is_known_beforehand(kind, sets, config):
    spec = policy_spec(kind, sets=sets)
    actor = Actor(spec, NetConfig(**config))
    assert bank_bytes(actor, spec, 5, "cpu") == WeightBank(actor, spec, 5, "cpu", 0).nbytes


def test_its_memory_is_all_that_numpy_allocates():
    spec = policy_spec(sets=SETS["roles"], features=100)
    actor = Actor(spec, NetConfig(hidden=(200, 200)))
    tracemalloc.start()
    bank = WeightBank(actor, spec, 6, "cpu", 0)
    allocated = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert bank.nbytes == pytest.approx(allocated, rel=0.02)
    assert isinstance(make_acting(actor, spec, "cpu", 0), NumpyActing)
