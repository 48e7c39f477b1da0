import numpy as np
import pytest
import torch
from scipy import stats

from sfmarl.models.acting import flat_size, flatten_into, make_acting
from sfmarl.models.acting_numpy import NumpyActing
from sfmarl.models.acting_torch import TorchActing
from sfmarl.models.actor import Actor
from sfmarl.models.encoders import NetConfig
from sfmarl.specs import ActionSpec, ObsSpec, PolicySpec
from tests.algorithms.synthetic_batches import policy_spec, random_mask

CPU = torch.device("cpu")
SETS = {"full": (0, 0, 0), "none": (0, 1, 2), "roles": (1, 0, 1)}


def lively_actor(spec: PolicySpec, seed=0, **config) -> Actor:
    """An actor with large random weights and statistics, so that nothing is hidden by the small initial head."""
    actor = Actor(spec, NetConfig(**config), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in actor.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.5)
        if actor.normaliser is not None:
            actor.normaliser.inv_std.abs_()
    return actor


def random_inputs(spec: PolicySpec, rows=37, indexed=False, seed=0):
    rng = np.random.default_rng(seed)
    agents = 2 if indexed else spec.num_agents
    obs = rng.normal(size=(rows, agents, *spec.obs.shape)) * 3
    obs = rng.integers(256, size=obs.shape) if spec.obs.dtype == np.uint8 else obs
    mask = random_mask(rng, (rows, agents), spec.action.nvec) if spec.has_mask else None
    index = rng.integers(spec.num_agents, size=(rows, agents)) if indexed else None
    return obs.astype(spec.obs.dtype), mask, index


def learners_log_prob(actor: Actor, obs, mask, index, action) -> np.ndarray:
    """What the learner computes for the same rows."""

    def tensor(x):
        return None if x is None else torch.from_numpy(np.array(x))

    with torch.no_grad():
        prepared = actor.prepare(tensor(obs))
        return actor.evaluate(prepared, tensor(action), tensor(mask), tensor(index))[0].numpy()


@pytest.mark.parametrize("indexed", [False, True], ids=["columns", "indexed"])
@pytest.mark.parametrize("sets", SETS.values(), ids=SETS.keys())
@pytest.mark.parametrize(
    ("kind", "masked"),
    [
        ("discrete", False),
        ("discrete", True),
        ("multi_discrete", False),
        ("multi_discrete", True),
        ("continuous", False),
    ],
)
def test_acting_log_prob_is_the_learners(kind, masked, sets, indexed):
    spec = policy_spec(kind, masked=masked, sets=sets)
    for config in ({}, {"activation": "relu", "normalise_obs": False, "agent_id": False, "hidden": ()}):
        actor = lively_actor(spec, **config)
        obs, mask, index = random_inputs(spec, indexed=indexed)
        chosen = {}
        for acting in (make_acting(actor, spec, CPU, 0), TorchActing(actor, spec, CPU, 0)):
            flat = np.empty(flat_size(actor), np.float32)
            flatten_into(actor, flat)
            acting.load(flat)
            for greedy in (False, True):
                action, log_prob = acting.act(obs, mask, index, greedy)
                assert action.dtype == spec.action.dtype
                assert action.shape == (*obs.shape[:2], *spec.action.shape)
                assert log_prob.dtype == np.float32
                np.testing.assert_allclose(
                    log_prob, learners_log_prob(actor, obs, mask, index, action), rtol=1e-5, atol=1e-5
                )
                chosen.setdefault(greedy, []).append(action.copy())
        np.testing.assert_allclose(*chosen[True], atol=1e-5)


def test_implementations_are_chosen_by_what_they_cover():
    def chosen(spec, **config):
        return type(make_acting(Actor(spec, NetConfig(**config)), spec, "cpu", 0))

    image = PolicySpec(
        "p", ObsSpec((8, 8, 3), np.dtype(np.uint8)), ActionSpec("discrete", (3,), (0,)), False, (0,), (0,)
    )
    assert chosen(policy_spec("discrete")) is NumpyActing
    assert chosen(policy_spec("multi_discrete")) is NumpyActing
    assert chosen(policy_spec("discrete"), rnn="gru") is NumpyActing
    assert chosen(policy_spec("continuous")) is TorchActing
    assert chosen(policy_spec("continuous"), rnn="gru") is TorchActing
    assert chosen(policy_spec("discrete"), rnn="lstm") is TorchActing
    assert chosen(policy_spec("discrete", sets=SETS["none"]), rnn="gru") is TorchActing
    assert chosen(policy_spec("discrete"), rnn="gru", layer_norm=True) is TorchActing
    assert chosen(policy_spec("discrete"), rnn="gru", precision="bfloat16") is TorchActing
    assert chosen(policy_spec("discrete"), layer_norm=True) is TorchActing
    assert chosen(image) is TorchActing


def test_images_act_as_they_learn():
    spec = PolicySpec(
        "p", ObsSpec((8, 8, 3), np.dtype(np.uint8)), ActionSpec("discrete", (3,), (0,)), False, (0, 1), (0, 1)
    )
    actor = lively_actor(spec)
    obs, mask, index = random_inputs(spec)
    action, log_prob = make_acting(actor, spec, "cpu", 0).act(obs)
    np.testing.assert_allclose(log_prob, learners_log_prob(actor, obs, mask, index, action), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int16])
@pytest.mark.parametrize("normalise", [False, True])
def test_stored_dtypes_are_taken_as_they_are(dtype, normalise):
    base = policy_spec()
    spec = PolicySpec("p", ObsSpec((5,), np.dtype(dtype)), base.action, False, base.agents, base.parameter_set)
    actor = lively_actor(spec, normalise_obs=normalise)
    obs, _, _ = random_inputs(spec)
    strided = np.empty((obs.shape[0] * 2, *obs.shape[1:]), dtype)[::2]
    strided[...] = obs
    for acting in (NumpyActing(actor, spec, 0), TorchActing(actor, spec, CPU, 0)):
        flat = np.empty(flat_size(actor), np.float32)
        flatten_into(actor, flat)
        acting.load(flat)
        action, log_prob = acting.act(strided)
        np.testing.assert_allclose(log_prob, learners_log_prob(actor, obs, None, None, action), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["discrete", "multi_discrete"])
def test_sampling_frequencies_of_the_fast_path(kind):
    spec = policy_spec(kind, agents=1, masked=True)
    actor = lively_actor(spec)
    acting = make_acting(actor, spec, "cpu", 5)
    obs = random_inputs(spec, rows=1)[0] * np.float32(0.2)
    mask = np.ones((1, 1, spec.action.mask_size), bool)
    mask[..., 1] = False
    rows = 50_000
    action, log_prob = acting.act(np.repeat(obs, rows, 0), np.repeat(mask, rows, 0))
    joint = [tuple(np.atleast_1d(a)) for a in action[:, 0]]
    expected = {a: np.exp(lp) for a, lp in zip(joint, log_prob[:, 0].tolist(), strict=True)}
    counts = dict.fromkeys(expected, 0)
    for a in joint:
        counts[a] += 1
    assert sum(expected.values()) == pytest.approx(1.0, abs=1e-3)
    assert len(expected) > 1
    probabilities = np.array(list(expected.values())) / sum(expected.values())
    assert stats.chisquare(list(counts.values()), rows * probabilities).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["discrete", "multi_discrete"])
def test_illegal_actions_are_never_drawn_however_likely(kind):
    spec = policy_spec(kind, masked=True)
    actor = lively_actor(spec)
    with torch.no_grad():
        actor.network.layers[-1].bias.mul_(100.0)
    obs, mask, _ = random_inputs(spec, rows=2000)
    starts = np.array([0, *np.cumsum(spec.action.nvec)[:-1]])
    for acting in (make_acting(actor, spec, "cpu", 0), TorchActing(actor, spec, CPU, 0)):
        for greedy in (False, True):
            action, log_prob = acting.act(obs, mask, greedy=greedy)
            assert np.take_along_axis(mask, action.reshape(2000, 3, -1) + starts, -1).all()
            assert np.isfinite(log_prob).all()


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_actions_are_a_function_of_the_seed(kind):
    spec = policy_spec(kind)
    actor = lively_actor(spec)
    obs, _, _ = random_inputs(spec)
    runs = []
    for seed in (1, 1, 2):
        acting = make_acting(actor, spec, "cpu", seed)
        runs.append([acting.act(obs)[0].copy() for _ in range(3)])
    assert all(np.array_equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))
    assert not np.array_equal(runs[0][0], runs[0][1])


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
@pytest.mark.parametrize("sets", SETS.values(), ids=SETS.keys())
def test_load_replaces_the_weights_and_aliases_nothing(kind, sets):
    spec = policy_spec(kind, sets=sets)
    old, new = lively_actor(spec, 0), lively_actor(spec, 1)
    obs, _, _ = random_inputs(spec)
    acting, fresh = make_acting(old, spec, "cpu", 0), make_acting(new, spec, "cpu", 0)
    before = acting.act(obs, greedy=True)[0].copy()
    flat = np.empty(flat_size(new), np.float32)
    flatten_into(new, flat)
    acting.load(flat)
    flat[:] = 0.0
    after = acting.act(obs, greedy=True)[0].copy()
    np.testing.assert_array_equal(after, fresh.act(obs, greedy=True)[0])
    assert not np.array_equal(before, after)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(fresh.act(obs, greedy=True)[0], after)


def test_batch_sizes_may_change_from_call_to_call():
    spec = policy_spec(masked=True)
    actor = lively_actor(spec)
    obs, mask, _ = random_inputs(spec, rows=300)
    for acting in (make_acting(actor, spec, "cpu", 0), TorchActing(actor, spec, CPU, 0)):
        flat = np.empty(flat_size(actor), np.float32)
        flatten_into(actor, flat)
        acting.load(flat)
        whole = acting.act(obs, mask, greedy=True)[0].copy()
        for rows in (1, 31, 33, 300, 2):
            np.testing.assert_array_equal(acting.act(obs[:rows], mask[:rows], greedy=True)[0], whole[:rows])


def test_flat_vectors_of_the_wrong_size_are_refused():
    actor = Actor(policy_spec(), NetConfig())
    with pytest.raises(ValueError, match="expected float32"):
        flatten_into(actor, np.empty(flat_size(actor) + 1, np.float32))


@pytest.mark.parametrize("kind", ["discrete", "multi_discrete"])
def test_rows_without_legal_actions_act_as_if_unmasked(kind):
    spec = policy_spec(kind, masked=True)
    actor = lively_actor(spec)
    obs, mask, _ = random_inputs(spec)
    mask[:] = False
    action, log_prob = make_acting(actor, spec, "cpu", 0).act(obs, mask)
    np.testing.assert_allclose(log_prob, learners_log_prob(actor, obs, None, None, action), rtol=1e-5, atol=1e-5)
