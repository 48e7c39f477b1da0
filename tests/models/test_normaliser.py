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
    np.testing.assert_allclose(moments.variance, rows.var(0), rtol=2e-2 if offset else 1e-5)


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


@pytest.mark.parametrize("target", [float("nan"), float("inf")])
def test_value_normaliser_ignores_non_finite_targets(target):
    norm = ValueNormaliser(0.9)
    norm.update(torch.tensor([1.0, 2.0]), torch.ones(2))
    before = norm.normalise(torch.tensor(4.0))
    norm.update(torch.tensor([1.0, target]), torch.ones(2))
    assert torch.equal(norm.normalise(torch.tensor(4.0)), before)
