import numpy as np
import pytest
import torch

from sfmarl.models.normaliser import ObsNormaliser, RunningMoments, ValueNormaliser


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_merged_moments_are_those_of_all_active_rows(offset):
    rng, moments, rows = np.random.default_rng(0), RunningMoments((3,)), []
    for size in (1, 5, 400, 33):
        x = (rng.normal(size=(size, 4, 3)) * [1, 5, 0.1] + offset).astype(np.float32)
        active = rng.random((size, 4)) < 0.6
        x[~active] = 1e6
        moments.merge(torch.from_numpy(x), torch.from_numpy(active))
        rows.append(x[active].astype(np.float64))
    rows = np.concatenate(rows)
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moments.variance, rows.var(0), rtol=1e-5)


def test_moments_of_large_values_keep_their_precision():
    """float32 sums of 20 000 values near a million are off by whole standard deviations."""
    rng, moments, rows = np.random.default_rng(0), RunningMoments((2,)), []
    for _ in range(3):
        x = (rng.normal(size=(20_000, 2)) + 1e6).astype(np.float32)
        moments.merge(torch.from_numpy(x), torch.ones(len(x)))
        rows.append(x.astype(np.float64))
    rows = np.concatenate(rows)
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=0, atol=1e-3)
    np.testing.assert_allclose(moments.variance, rows.var(0), rtol=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_batches_leave_the_moments_alone(bad):
    moments = RunningMoments((2,))
    x = torch.randn(10, 2)
    moments.merge(x, torch.ones(10))
    before = {name: tensor.clone() for name, tensor in moments.state_dict().items()}
    x[3, 1] = bad
    moments.merge(x, torch.ones(10))
    assert all(torch.equal(tensor, before[name]) for name, tensor in moments.state_dict().items())


def test_a_batch_without_active_rows_changes_nothing():
    moments = RunningMoments((2,))
    moments.merge(torch.randn(10, 2), torch.zeros(10))
    assert moments.count == 0
    assert torch.equal(moments.variance, torch.ones(2, dtype=torch.float64))


def test_observations_are_standardised_and_clipped():
    moments, normaliser = RunningMoments((1,)), ObsNormaliser((1,))
    x = torch.tensor([[10.0], [14.0]])
    assert torch.equal(normaliser(x), torch.tensor([[10.0], [10.0]]))
    normaliser.follow(moments, x, torch.ones(2))
    torch.testing.assert_close(
        normaliser(torch.tensor([[10.0], [13.0], [1000.0]])), torch.tensor([[-1.0], [0.5], [10.0]])
    )


def test_value_normaliser_is_a_debiased_average():
    norm, batches = ValueNormaliser(0.9), [torch.tensor([1.0, 3.0]), torch.tensor([5.0, 9.0])]
    assert torch.equal(norm.normalise(batches[0]), batches[0])
    for batch in batches:
        norm.update(torch.cat([batch, torch.tensor([1e9])]), torch.tensor([1.0, 1.0, 0.0]))
    weights = np.array([0.9, 1.0]) / 1.9
    mean = weights @ [2.0, 7.0]
    std = np.sqrt(weights @ [5.0, 53.0] - mean**2)
    np.testing.assert_allclose(norm.normalise(torch.tensor([4.0])), [(4.0 - mean) / std], rtol=1e-5)
    torch.testing.assert_close(norm.denormalise(norm.normalise(batches[1])), batches[1])


def test_value_normaliser_knows_the_deviation_of_large_values():
    norm, rng = ValueNormaliser(0.9), np.random.default_rng(0)
    for _ in range(5):
        norm.update(torch.from_numpy((rng.normal(size=20_000) + 1e6).astype(np.float32)), torch.ones(20_000))
    one_apart = norm.normalise(torch.tensor([1e6, 1e6 + 1]))
    assert float(one_apart[1] - one_apart[0]) == pytest.approx(1.0, rel=0.02)
    assert abs(float(one_apart[0])) < 0.1


@pytest.mark.parametrize("target", [float("nan"), float("inf")])
def test_value_normaliser_ignores_non_finite_targets(target):
    norm = ValueNormaliser(0.9)
    norm.update(torch.tensor([1.0, 2.0]), torch.ones(2))
    before = norm.normalise(torch.tensor(4.0))
    norm.update(torch.tensor([1.0, target]), torch.ones(2))
    assert torch.equal(norm.normalise(torch.tensor(4.0)), before)
