import numpy as np
import pytest
import torch

from sfmarl.algorithms import returns

GAMMA = 0.9


def trajectory(seed=0, steps=9, lanes=4, agents=3, cuts=0.3, idle=0.3):
    """Random values, rewards, cuts, running flags and ratios; NumPy, [T(+1), N, A]."""
    rng = np.random.default_rng(seed)
    shape = (steps, lanes, agents)
    running = rng.random(shape) >= idle
    ended = (rng.random(shape) < cuts) & running
    terminated = ended & (rng.random(shape) < 0.5)
    values = rng.normal(size=(steps + 1, lanes, agents)).astype(np.float32)
    reward = (rng.normal(size=shape) * running).astype(np.float32)
    ratio = np.exp(rng.normal(size=shape)).astype(np.float32)
    return values, reward, terminated, ended & ~terminated, running, ratio


def flows(terminated, truncated, running, t) -> bool:
    """Whether the recursion at step t goes on to step t + 1, for one agent's column."""
    last = t == len(running) - 1
    return not last and not terminated[t] and not truncated[t] and bool(running[t + 1])


def gae_oracle(values, reward, terminated, truncated, running, lam):
    """One column [T], straight from the definition: a sum of TD errors, forwards."""
    advantages = np.zeros(len(reward))
    for start in range(len(reward)):
        if not running[start]:
            continue
        weight, t = 1.0, start
        while True:
            successor = 0.0 if terminated[t] else values[t + 1]
            advantages[start] += weight * (reward[t] + GAMMA * successor - values[t])
            if not flows(terminated, truncated, running, t):
                break
            weight, t = weight * GAMMA * lam, t + 1
    return values[:-1] + advantages, advantages


def vtrace_oracle(values, reward, terminated, truncated, running, ratio, lam, rho_bar, c_bar):
    """One column [T], IMPALA eq. 1 as the sum it is printed as; advantages without the sample's weight rho."""
    rho, c = np.minimum(rho_bar, ratio), lam * np.minimum(c_bar, ratio)
    targets, advantages = values[:-1].astype(float).copy(), np.zeros(len(reward))

    def delta(t):
        return rho[t] * (reward[t] + GAMMA * (0.0 if terminated[t] else values[t + 1]) - values[t])

    for start in range(len(reward)):
        if not running[start]:
            continue
        weight, t = 1.0, start
        while True:
            targets[start] += weight * delta(t)
            if not flows(terminated, truncated, running, t):
                break
            weight, t = weight * GAMMA * c[t], t + 1
    for t in range(len(reward)):
        if running[t]:
            successor = 0.0 if terminated[t] else values[t + 1]
            if flows(terminated, truncated, running, t):
                successor = lam * targets[t + 1] + (1 - lam) * values[t + 1]
            advantages[t] = reward[t] + GAMMA * successor - values[t]
    return targets, advantages


def nstep_oracle(values, reward, terminated, truncated, running, n):
    targets = values[:-1].astype(float).copy()
    for start in range(len(reward)):
        if not running[start]:
            continue
        total, discount, t = 0.0, 1.0, start
        for step in range(n):
            total, discount = total + discount * reward[t], discount * GAMMA
            if terminated[t]:
                break
            if step == n - 1 or not flows(terminated, truncated, running, t):
                total += discount * values[t + 1]
                break
            t += 1
        targets[start] = total
    return targets, targets - values[:-1]


def check(result, oracle, arrays, *arguments):
    """Compare [T, N, A] results with the oracle applied to every (lane, agent) column."""
    targets, advantages = (x.numpy() for x in result)
    for n, a in np.ndindex(*arrays[1].shape[1:]):
        expected = oracle(*(x[:, n, a] for x in arrays), *arguments)
        np.testing.assert_allclose(targets[:, n, a], expected[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(advantages[:, n, a], expected[1], rtol=1e-4, atol=1e-5)


def tensors(arrays):
    return [torch.from_numpy(x) for x in arrays]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_gae(seed, lam):
    arrays = trajectory(seed)[:5]
    check(returns.gae(*tensors(arrays), GAMMA, lam), gae_oracle, arrays, lam)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("lam", "rho_bar", "c_bar"), [(1.0, 1.0, 1.0), (0.8, 1.0, 1.0), (1.0, 2.0, 0.5), (0.9, 0.7, 1.2)]
)
def test_vtrace(seed, lam, rho_bar, c_bar):
    arrays = trajectory(seed)
    result = returns.vtrace(*tensors(arrays), GAMMA, lam, rho_bar, c_bar)
    check(result, vtrace_oracle, arrays, lam, rho_bar, c_bar)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [1, 2, 5, 9, 20])
def test_nstep(seed, n):
    arrays = trajectory(seed)[:5]
    check(returns.nstep(*tensors(arrays), GAMMA, n), nstep_oracle, arrays, n)


def test_on_policy_vtrace_is_the_lambda_return():
    arrays = tensors(trajectory())
    ones = torch.ones_like(arrays[1])
    for lam in (0.0, 0.6, 1.0):
        expected = returns.gae(*arrays[:5], GAMMA, lam)
        for got, want in zip(returns.vtrace(*arrays[:5], ones, GAMMA, lam), expected, strict=True):
            torch.testing.assert_close(got, want)
    for got, want in zip(returns.vtrace(*arrays[:5], ones, GAMMA), returns.nstep(*arrays[:5], GAMMA, 0), strict=True):
        torch.testing.assert_close(got, want)


def test_ceilings_below_every_ratio_make_vtrace_blind_to_the_policy():
    """IMPALA section 4.1: as rho_bar goes to 0 the fixed point becomes the value of the policy that acted."""
    values, reward, terminated, truncated, running, ratio = tensors(trajectory())
    ratio = ratio.clamp_min(1e-3)
    a = returns.vtrace(values, reward, terminated, truncated, running, ratio, GAMMA, 1.0, 1e-6, 1e-6)
    b = returns.vtrace(values, reward, terminated, truncated, running, ratio * 5, GAMMA, 1.0, 1e-6, 1e-6)
    for got, want in zip(a, b, strict=True):
        torch.testing.assert_close(got, want)


def test_printed_lambda_return_example():
    """Three steps, no discount, lambda 1/2, by hand: delta = (2, 1, 3), A = (2 + .5 (1 + .5 * 3), 2.5, 3)."""
    values = torch.tensor([1.0, 2.0, 2.0, 1.0]).reshape(4, 1, 1)
    reward = torch.tensor([1.0, 1.0, 4.0]).reshape(3, 1, 1)
    never, always = torch.zeros(3, 1, 1, dtype=torch.bool), torch.ones(3, 1, 1, dtype=torch.bool)
    targets, advantages = returns.gae(values, reward, never, never, always, 1.0, 0.5)
    assert advantages.flatten().tolist() == [3.25, 2.5, 3.0]
    assert targets.flatten().tolist() == [4.25, 4.5, 5.0]


@pytest.mark.parametrize("estimator", ["gae", "vtrace", "nstep"])
def test_nothing_behind_a_cut_or_an_idle_step_is_seen(estimator):
    values, reward, terminated, truncated, running, ratio = tensors(trajectory(cuts=0.0, idle=0.0))
    terminated[3, 0], truncated[3, 1], running[4, 2] = True, True, False

    def run(values, reward):
        arguments = (values, reward, terminated, truncated, running)
        if estimator == "vtrace":
            return returns.vtrace(*arguments, ratio, GAMMA)
        return returns.gae(*arguments, GAMMA, 0.9) if estimator == "gae" else returns.nstep(*arguments, GAMMA, 3)

    before = run(values, reward)
    values, reward = values.clone(), reward.clone()
    values[5:] += 10.0
    reward[4:] -= 7.0
    values[4, 0] += 5.0  # the successor of a terminated step does not count
    for old, new in zip(before, run(values, reward), strict=True):
        assert torch.equal(old[:4, :3], new[:4, :3])
        assert not torch.equal(old[:4, 3], new[:4, 3])
    values[4, 1:3] += 5.0  # that of a truncated step, and one before an idle step, does
    _, advantages = run(values, reward)
    assert (advantages[3, 1:3] != before[1][3, 1:3]).all()
    assert (advantages[4, 2] == 0).all()


@pytest.mark.parametrize("estimator", ["gae", "vtrace", "nstep", "discounted"])
def test_memory_layout_does_not_matter(estimator):
    arrays = tensors(trajectory())
    permuted = [x.permute(2, 1, 0).contiguous().permute(2, 1, 0) for x in arrays]
    assert not any(x.is_contiguous() for x in permuted)

    def run(values, reward, terminated, truncated, running, ratio):
        if estimator == "discounted":
            return [returns.discounted(reward, terminated, truncated, running, GAMMA)]
        arguments = (values, reward, terminated, truncated, running)
        if estimator == "vtrace":
            return returns.vtrace(*arguments, ratio, GAMMA)
        return returns.gae(*arguments, GAMMA, 0.9) if estimator == "gae" else returns.nstep(*arguments, GAMMA, 0)

    for got, want in zip(run(*permuted), run(*arrays), strict=True):
        torch.testing.assert_close(got, want)


def test_discounted_sums():
    _, reward, terminated, truncated, running, _ = trajectory(seed=4)
    zeros = np.zeros((len(reward) + 1, *reward.shape[1:]), np.float32)
    got = returns.discounted(*tensors((reward, terminated, truncated, running)), GAMMA)
    for n, a in np.ndindex(*reward.shape[1:]):
        columns = [x[:, n, a] for x in (zeros, reward, terminated, truncated, running)]
        np.testing.assert_allclose(got[:, n, a], gae_oracle(*columns, 1.0)[0], rtol=1e-4, atol=1e-5)
