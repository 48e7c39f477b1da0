import copy
import json

import numpy as np
import pytest
import torch

from sfmarl.algorithms.ppo import PPO
from sfmarl.algorithms.registry import get_algorithm
from sfmarl.algorithms.rows import Inputs, Rows
from sfmarl.errors import UsageError
from sfmarl.models import distributions
from sfmarl.monitor.metrics import METRICS
from tests.algorithms.synthetic_batches import ACTIONS, acted_batch, policy_spec
from tests.algorithms.test_returns import GAMMA, gae_oracle, nstep_oracle, vtrace_oracle

CPU = torch.device("cpu")
PRESETS = ["ippo", "mappo", "appo", "a2c"]


def algorithm(preset="ippo", spec=None, seed=1, **settings) -> PPO:
    hp = get_algorithm(preset).hyperparameters()
    hp.hidden, hp.target_kl = (16,), 0.0
    for name, value in settings.items():
        setattr(hp, name, value)
    spec = spec or policy_spec(source="joint" if hp.critic == "state" else "own")
    return PPO(spec, hp, CPU, seed)


def tensors_of(algo: PPO) -> dict[str, torch.Tensor]:
    return algo.state_dict()["tensors"]


def same(a: PPO, b: PPO) -> bool:
    ours, theirs = tensors_of(a), tensors_of(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def actor_parameters(algo: PPO) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in algo.actor.parameters()])


@pytest.mark.parametrize("minibatches", [1, 3])
@pytest.mark.parametrize("rnn", ["gru", "lstm"])
@pytest.mark.parametrize("lanes_of_one", [False, True], ids=["columns", "indexed"])
@pytest.mark.parametrize(("kind", "sets"), [("masked", (0, 1, 0)), ("continuous", (0, 0, 0)), ("discrete", (0, 1, 2))])
@pytest.mark.parametrize("preset", ["mappo", "ippo"])
def test_ratio_is_one_at_lag_zero_with_memory(preset, kind, sets, lanes_of_one, rnn, minibatches):
    """The learner unrolls from the stored state what the actor did step by step."""
    masked = kind == "masked"
    source = "env" if preset == "mappo" else "own"
    spec = policy_spec("discrete" if masked else kind, masked=masked, sets=sets, source=source, state_shape=(4,))
    settings = {"actor_rnn": rnn, "critic_rnn": rnn, "rnn_size": 8}
    algo = algorithm(preset, spec, minibatches=minibatches, epochs=2, lr=0.01, **settings)
    before = actor_parameters(algo)
    for seed in range(3):
        batch = acted_batch(spec, algo.actor, seed=seed, deaths=True, lanes_of_one=lanes_of_one)
        metrics = algo.update(batch, 0.0)
        assert metrics["ratio_max_first"] < 1e-4
        assert metrics["skipped_updates"] == 0
    assert not torch.equal(before, actor_parameters(algo))
    forgotten = acted_batch(spec, algo.actor, deaths=True, lanes_of_one=lanes_of_one)
    forgotten.actor_state = torch.zeros_like(forgotten.actor_state)
    assert algo.update(forgotten, 0.0)["ratio_max_first"] > 1e-3


@pytest.mark.parametrize("minibatches", [1, 3])
@pytest.mark.parametrize("lanes_of_one", [False, True], ids=["columns", "indexed"])
@pytest.mark.parametrize("sets", [(0, 0, 0), (0, 1, 2), (0, 1, 0)], ids=["full", "none", "roles"])
@pytest.mark.parametrize("kind", [*ACTIONS, "masked"])
def test_ratio_is_one_at_lag_zero(kind, sets, lanes_of_one, minibatches):
    masked = kind == "masked"
    spec = policy_spec("discrete" if masked else kind, masked=masked, sets=sets)
    for preset in ("ippo", "appo"):
        algo = algorithm(preset, spec, minibatches=minibatches, epochs=2, lr=0.01)
        for seed in range(3):
            batch = acted_batch(spec, algo.actor, seed=seed, deaths=True, lanes_of_one=lanes_of_one)
            metrics = algo.update(batch, 0.0)
            assert metrics["ratio_max_first"] < 1e-4
            assert metrics["skipped_updates"] == 0
            assert metrics["kl"] > 0


@pytest.mark.parametrize("source", ["joint", "env"])
@pytest.mark.parametrize("preset", PRESETS)
def test_first_losses_by_plain_loops(preset, source):
    """loss_policy, loss_value and entropy of a one-step update on lagging data, recomputed row by row."""
    hp_source = source if preset == "mappo" else "own"
    spec = policy_spec(masked=True, source=hp_source, state_shape=(4,))
    settings = {"epochs": 1, "gamma": GAMMA, "normalise_obs": False, "huber_delta": 0.6, "normalise_values": False}
    algo = algorithm(preset, spec, **settings)
    batch = acted_batch(spec, algorithm(preset, spec, seed=9, **settings).actor, deaths=True)
    batch.log_prob += 0.5 * torch.randn(batch.log_prob.shape, generator=torch.Generator().manual_seed(0))
    hp, active = algo.hp, batch.active[:-1].numpy()
    with torch.no_grad():
        params = algo.actor(batch.obs[:-1])
        log_pi, entropy = distributions.evaluate(spec.action, params, batch.action, batch.action_mask[:-1])
        clean = torch.where(batch.active[..., None], batch.obs, 0.0)
        clean[1:] = torch.where(
            (batch.active[:-1] & ~batch.terminated | batch.active[1:])[..., None], batch.obs[1:], 0.0
        )
        values = algo.critic(algo.critic.gather(clean, batch.state)).numpy()
    ratio = (log_pi - batch.log_prob).exp().numpy()
    reward = np.where(active, batch.reward.numpy(), 0)
    columns = (values, reward, batch.terminated.numpy(), batch.truncated.numpy(), active)
    targets, advantages = np.zeros((2, *active.shape))
    for n, a in np.ndindex(*active.shape[1:]):
        column = [x[:, n, a] for x in columns]
        if hp.returns == "gae":
            result = gae_oracle(*column, hp.trace_lambda)
        elif hp.returns == "vtrace":
            result = vtrace_oracle(*column, np.where(active, ratio, 1)[:, n, a], hp.trace_lambda, 1.0, 1.0)
        else:
            result = nstep_oracle(*column, len(reward))
        targets[:, n, a], advantages[:, n, a] = result
    weight = np.minimum(ratio, 1.0) if hp.returns == "vtrace" else np.ones_like(ratio)
    mean = np.average(advantages[active], weights=weight[active])
    spread = np.average((advantages - mean)[active] ** 2, weights=weight[active]) ** 0.5
    advantages = weight * (advantages - mean) / spread
    policy, value = [], []
    for row in zip(*np.nonzero(active), strict=True):
        # V-trace has corrected for the lag: the surrogate's own ratio starts at one, but not its trust region
        r, moved = (1.0, ratio[row]) if hp.returns == "vtrace" else (ratio[row], 1.0)
        kept = min(r, 1.2, 1.2 / moved) if advantages[row] > 0 else max(r, 0.8, 0.8 / moved)
        objective = kept * advantages[row]
        policy.append(-log_pi[row].item() * advantages[row] if hp.surrogate == "pg" else -objective)
        error = abs(values[row] - targets[row])
        value.append(0.5 * error**2 if error <= 0.6 else 0.6 * (error - 0.3))
    metrics = {name: float(metric) for name, metric in algo.update(batch, 0.0).items()}
    assert metrics["loss_policy"] == pytest.approx(np.mean(policy), abs=1e-5)
    assert metrics["loss_value"] == pytest.approx(np.mean(value), rel=1e-4)
    assert metrics["entropy"] == pytest.approx(entropy.numpy()[active].mean(), rel=1e-5)
    assert metrics["ratio_max_first"] == pytest.approx(np.abs(ratio - 1)[active].max(), rel=1e-4)
    assert metrics["return_mean"] == pytest.approx(targets[active].mean(), abs=1e-5)
    assert metrics["valid_fraction"] == pytest.approx(active.mean())
    if hp.returns == "vtrace":
        assert metrics["clip_fraction"] == 0
        assert metrics["rho_mean"] == pytest.approx(np.minimum(ratio, 1)[active].mean(), rel=1e-5)


@pytest.mark.parametrize("minibatches", [1, 3])
@pytest.mark.parametrize(("preset", "source"), [("ippo", "own"), ("mappo", "joint"), ("mappo", "env"), ("appo", "own")])
@pytest.mark.parametrize("kind", [*ACTIONS, "masked"])
def test_what_dead_rows_hold_does_not_matter(kind, preset, source, minibatches):
    masked = kind == "masked"
    spec = policy_spec("discrete" if masked else kind, masked=masked, source=source, state_shape=(4,))
    algos = [algorithm(preset, spec, minibatches=minibatches, epochs=2, normalise_returns=True) for _ in range(2)]
    clean = acted_batch(spec, algos[0].actor, deaths=True)
    clean.active[:, 0] = False
    spoiled = copy.deepcopy(clean)
    active = spoiled.active[:-1]
    needed = spoiled.active.clone()
    needed[1:] |= active & ~spoiled.terminated
    spoiled.obs[~needed] = float("nan")
    spoiled.action[~active] = -77
    spoiled.log_prob[~active] = float("inf")
    spoiled.reward[~active] = float("nan")
    if masked:
        spoiled.action_mask[~spoiled.active] = False
    if source == "env":
        spoiled.state[~needed.any(-1)] = float("nan")
    for algo, batch in zip(algos, (clean, spoiled), strict=True):
        metrics = algo.update(batch, 0.0)
        assert metrics["skipped_updates"] == 0
        assert all(np.isfinite(float(metric)) for metric in metrics.values())
    assert same(*algos)


def test_a_masked_action_gets_no_gradient():
    spec = policy_spec(masked=True)
    algo = algorithm("ippo", spec, epochs=1, hidden=())
    batch = acted_batch(spec, algo.actor)
    batch.action_mask[..., 2] = False
    batch.action = (batch.action_mask[:-1].float() + torch.rand(batch.action_mask[:-1].shape)).argmax(-1)
    batch.action_mask.scatter_(-1, torch.cat([batch.action, batch.action[-1:]]).unsqueeze(-1), True)
    before = algo.actor.network.layers[-1].weight.detach().clone()
    algo.update(batch, 0.0)
    changed = (algo.actor.network.layers[-1].weight != before)[0].any(0)
    never_legal = ~batch.action_mask[:-1].flatten(0, 2).any(0)
    assert never_legal.any()
    assert torch.equal(changed, ~never_legal)


def test_agents_are_interchangeable_without_ids():
    spec, order = policy_spec(), torch.tensor([2, 0, 1])
    algos = [algorithm("ippo", spec, agent_id=False, epochs=3) for _ in range(2)]
    batch = acted_batch(spec, algos[0].actor, deaths=True)
    permuted = copy.deepcopy(batch)
    for name in ("obs", "active", "is_first", "action", "log_prob", "reward", "terminated", "truncated"):
        setattr(permuted, name, getattr(permuted, name)[:, :, order])
    for algo, data in zip(algos, (batch, permuted), strict=True):
        algo.update(data, 0.0)
    torch.testing.assert_close(actor_parameters(algos[0]), actor_parameters(algos[1]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_update_after_a_round_trip_is_bit_identical(preset):
    source = "env" if preset == "mappo" else "own"
    spec = policy_spec(source=source, state_shape=(4,))
    settings = {"minibatches": 2, "epochs": 2, "normalise_returns": True}
    original, other = (algorithm(preset, spec, seed=seed, **settings) for seed in (1, 2))
    for seed in range(2):
        original.update(acted_batch(spec, original.actor, seed=seed), 0.1)
    state = original.state_dict()
    assert json.loads(json.dumps(state["scalars"])) == state["scalars"]
    assert not same(original, other)
    other.load_state_dict(state)
    assert same(original, other)
    batch = acted_batch(spec, original.actor, seed=5)
    metrics = [algo.update(batch, 0.2) for algo in (original, other)]
    assert same(original, other)
    assert {k: float(v) for k, v in metrics[0].items()} == {k: float(v) for k, v in metrics[1].items()}
    # a saved state must not follow the live weights
    assert not torch.equal(state["tensors"]["actor.network.layers.0.weight"], original.actor.network.layers[0].weight)


def test_states_that_do_not_fit_are_refused_and_change_nothing():
    algo, before = algorithm(), algorithm()
    name = "actor.network.layers.0.weight"
    for change, error in (
        (lambda t: t.pop(name), KeyError),
        (lambda t: t.update(extra=torch.zeros(1)), ValueError),
        (lambda t: t.update({name: torch.zeros(2)}), ValueError),
        (lambda t: t.pop("minibatch_generator"), KeyError),
        # sixteen bytes is what a CUDA generator's state has
        (lambda t: t.update(minibatch_generator=torch.zeros(16, dtype=torch.uint8)), ValueError),
        (lambda t: t.update(minibatch_generator=t["minibatch_generator"].float()), ValueError),
    ):
        state = algorithm(seed=3).state_dict()
        change(state["tensors"])
        with pytest.raises(error):
            algo.load_state_dict(state)
    assert same(algo, before)


@pytest.mark.parametrize("minibatches", [1, 2])
@pytest.mark.parametrize("field", ["reward", "obs", "log_prob"])
def test_non_finite_input_never_reaches_the_parameters(field, minibatches):
    spec = policy_spec()
    algo = algorithm("mappo", policy_spec(source="joint"), minibatches=minibatches, epochs=2)
    algo.update(acted_batch(spec, algo.actor, seed=1), 0.0)
    before = tensors_of(algo)
    batch = acted_batch(spec, algo.actor, cuts=False)
    getattr(batch, field)[2, 1, 1] = float("nan")
    metrics = algo.update(batch, 0.0)
    after = tensors_of(algo)
    assert metrics["skipped_updates"] >= 1
    assert all(torch.isfinite(tensor).all() for name, tensor in after.items() if tensor.is_floating_point())
    if minibatches == 1:
        statistics = ("value_norm.", "obs_moments.") if field == "obs" else ()
        frozen = [name for name in after if name.startswith(("actor.network", "critic", "optimiser", *statistics))]
        assert all(torch.equal(after[name], before[name]) for name in frozen)
    algo.update(acted_batch(spec, algo.actor, seed=3), 0.0)
    assert not torch.equal(tensors_of(algo)["critic.network.layers.0.weight"], after["critic.network.layers.0.weight"])


def test_early_stop_on_kl():
    batch_of = algorithm(epochs=10, lr=0.05)
    batch = acted_batch(batch_of.spec, batch_of.actor)
    assert batch_of.update(batch, 0.0)["epochs_run"] == 10
    for minibatches in (1, 2):
        stopped = algorithm(epochs=10, lr=0.05, target_kl=0.01, minibatches=minibatches)
        assert stopped.update(batch, 0.0)["epochs_run"] < 10


def test_minibatches_are_a_partition_of_joint_rows():
    spec = policy_spec(masked=True)
    algo = algorithm("ippo", spec)
    batch = acted_batch(spec, algo.actor, lanes_of_one=True)
    rows = Rows.of(batch)
    obs = algo.actor.prepare(rows.obs)
    inputs = Inputs.of(rows, obs, obs)
    index = torch.randperm(48)
    part = inputs.take(index)
    assert part.critic_rows is part.obs
    for m, i in enumerate(index.tolist()):
        t, n = divmod(i, 8)
        assert torch.equal(part.obs[m], obs[t, n])
        assert torch.equal(part.action[m], batch.action[t, n])
        assert torch.equal(part.action_mask[m], batch.action_mask[t, n])
        assert torch.equal(part.agent_index[m], batch.agent_index[n])


def test_minibatches_are_seeded():
    batch_of = algorithm()
    batch = acted_batch(batch_of.spec, batch_of.actor)
    algos = [algorithm(minibatches=4, epochs=2) for _ in range(2)]
    for algo in algos:
        algo.update(batch, 0.0)
    assert same(*algos)
    torch.manual_seed(123)
    algos[0].update(batch, 0.0)
    torch.manual_seed(456)
    algos[1].update(batch, 0.0)
    assert same(*algos)


def test_no_optimiser_step_is_taken_on_an_empty_minibatch():
    algo = algorithm(minibatches=5, epochs=2)
    batch = acted_batch(algo.spec, algo.actor, steps=3, lanes=1)
    algo.update(batch, 0.0)
    assert tensors_of(algo)["optimiser.actor.network.layers.0.weight.step"] == 2 * 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_state_saved_on_the_gpu_goes_on_on_the_cpu():
    cpu = algorithm(minibatches=2)
    gpu = PPO(cpu.spec, cpu.hp, torch.device("cuda"), seed=2)
    cpu.load_state_dict(gpu.state_dict())
    ours, theirs = tensors_of(cpu), tensors_of(gpu)
    assert all(torch.equal(ours[name], theirs[name].cpu()) for name in ours)


@pytest.mark.parametrize(("returns", "reference_is_acting_policy"), [("vtrace", False), ("gae", True), ("nstep", True)])
def test_kl_is_measured_from_the_policy_the_ratio_is_taken_against(returns, reference_is_acting_policy):
    """Nothing moves at learning rate 0, so only the distance to the policy that acted can be left."""
    algo = algorithm(returns=returns, lr=0.0, epochs=2)
    batch = acted_batch(algo.spec, algo.actor)
    batch.log_prob += 0.5 * torch.randn(batch.log_prob.shape, generator=torch.Generator().manual_seed(0))
    assert (float(algo.update(batch, 0.0)["kl"]) > 0.05) == reference_is_acting_policy
    described = METRICS["learner/<policy>/kl"].description
    assert all(words in described for words in ("V-trace", "update's start", "policy that acted"))


@pytest.mark.parametrize("minibatches", [1, 2])
def test_values_can_be_recomputed_every_epoch(minibatches):
    results = []
    for recompute in (False, True):
        algo = algorithm(epochs=3, minibatches=minibatches, recompute_values=recompute, lr=0.01)
        algo.update(acted_batch(algo.spec, algo.actor), 0.0)
        results.append(actor_parameters(algo))
    assert not torch.equal(*results)


def test_return_normalisation_makes_the_reward_scale_irrelevant():
    def learned(scale, **settings):
        algo = algorithm(epochs=2, normalise_values=False, value_clip=0.0, **settings)
        batch = acted_batch(algo.spec, algo.actor)
        batch.reward *= scale
        algo.update(batch, 0.0)
        return torch.cat([p.detach().flatten() for p in algo.critic.parameters()])

    torch.testing.assert_close(learned(1.0, normalise_returns=True), learned(100.0, normalise_returns=True))
    assert not torch.allclose(learned(1.0), learned(100.0), atol=1e-4)


def test_a_dead_agents_running_return_teaches_the_critic_not_the_actor():
    """death = "masked": agent 1 is dead from t = 2 on, its return runs on."""
    base = algorithm(epochs=1, normalise_advantages=False)
    batch = acted_batch(base.spec, base.actor, cuts=False)
    batch.active[2:, :, 1] = False
    batch.in_return = torch.zeros_like(batch.active)
    batch.in_return[2:, :, 1] = True
    batch.obs[2:, :, 1] = 0.0
    paid = copy.deepcopy(batch)
    paid.reward[4, :, 1] += 5.0
    other_action = copy.deepcopy(batch)
    other_action.action[2:, :, 1] = 3 - other_action.action[2:, :, 1]
    algos = {}
    for name, data in (("base", batch), ("paid", paid), ("other_action", other_action)):
        algos[name] = algorithm(epochs=1, normalise_advantages=False, surrogate="pg")
        algos[name].update(data, 0.0)
    assert same(algos["base"], algos["other_action"])
    # the reward reaches the actions before the death
    assert not torch.equal(actor_parameters(algos["base"]), actor_parameters(algos["paid"]))
    ended = copy.deepcopy(batch)
    ended.in_return = None
    algo = algorithm(epochs=1, normalise_advantages=False, surrogate="pg")
    algo.update(ended, 0.0)
    assert not same(algo, algos["base"])


def test_learning_rates_follow_the_schedule():
    algo = algorithm(lr=1e-3, critic_lr=1e-2, lr_schedule="linear", lr_final=0.5, epochs=1)
    batch = acted_batch(algo.spec, algo.actor)
    assert algo.update(batch, 0.5)["lr"] == pytest.approx(7.5e-4)
    still = algorithm(lr=1e-3, lr_schedule="linear", epochs=1)
    before = actor_parameters(still)
    still.update(batch, 1.0)
    assert torch.equal(actor_parameters(still), before)


def test_a_central_critic_needs_a_state():
    with pytest.raises(UsageError, match="critic=own"):
        algorithm("mappo", policy_spec(source="own"))


def test_actions_never_depend_on_the_state():
    spec = policy_spec(source="env", state_shape=(4,))
    algo = algorithm("mappo", spec)
    assert not any("critic" in name for name, _ in algo.actor.named_parameters())
    algos = [algorithm("mappo", spec, epochs=1, entropy_coef=0.0, normalise_advantages=False) for _ in range(2)]
    batch = acted_batch(spec, algo.actor)
    batch.reward.zero_()
    for a in algos:
        # a critic that says zero everywhere leaves nothing of the state in the advantages
        for parameter in a.critic.parameters():
            parameter.data.zero_()
        a.update(batch, 0.0)
        batch.state = torch.randn(batch.state.shape)
    assert torch.equal(actor_parameters(algos[0]), actor_parameters(algos[1]))


def test_built_actor_is_the_learners():
    algo = algorithm()
    built = PPO.build_actor(algo.spec, algo.hp)
    assert {n: t.shape for n, t in built.state_dict().items()} == {
        n: t.shape for n, t in algo.actor.state_dict().items()
    }


def test_the_critic_learns_where_only_a_dead_agents_return_runs():
    """With lambda 0 a reward at t = 4 moves that row's target alone: it must reach the critic, and not the actor."""
    settings = {"epochs": 1, "trace_lambda": 0.0, "normalise_advantages": False, "normalise_values": False}
    algos = [algorithm(**settings) for _ in range(2)]
    batch = acted_batch(algos[0].spec, algos[0].actor, cuts=False)
    batch.active[3:, :, 1] = False
    batch.in_return = ~batch.active
    for algo in algos:
        algo.update(batch, 0.0)
        batch.reward[4, :, 1] += 5.0
    assert torch.equal(*map(actor_parameters, algos))
    assert not torch.equal(*(algo.critic.network.layers[0].weight for algo in algos))
