"""Rows that hold images beside a vector."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sfmarl.algorithms.ppo import PPO, Hyperparameters
from sfmarl.models.acting import make_acting
from sfmarl.models.critic import Critic
from sfmarl.models.encoders import NetConfig, SetNetwork
from sfmarl.models.normaliser import CLIP, RunningMoments
from sfmarl.models.parts import PartsNormaliser, join, joint_parts, make_normaliser
from sfmarl.specs import ObsPart, ObsSpec
from tests.algorithms.synthetic_batches import acted_batch, policy_spec
from tests.models.test_acting import SETS, learners_log_prob, lively_actor, random_inputs

CPU = torch.device("cpu")
VECTOR, CAMERA, GRID = ObsPart("vector", (3,)), ObsPart("camera", (6, 7, 2), is_bytes=True), ObsPart("grid", (5, 5, 1))
PARTS = (VECTOR, CAMERA, GRID)
SIZE = 3 + 84 + 25


def mixed_spec(dtype=np.float32, parts=PARTS, **settings):
    size = sum(part.size for part in parts)
    return replace(policy_spec(**settings), obs=ObsSpec((size,), np.dtype(dtype), parts))


def convolve(encoder, image, which=0):
    """A plain version of the small encoder, for images [B, H, W, C] already scaled."""
    x = image.permute(0, 3, 1, 2)
    for weight, bias in zip(encoder.weights, encoder.biases, strict=True):
        x = F.relu(F.conv2d(x, weight[which], bias[which]))
    return x.flatten(1)


def test_images_go_through_their_convolutions_and_the_vector_does_not():
    net = SetNetwork((SIZE,), 4, (0,), NetConfig(hidden=()), 1.0, torch.Generator().manual_seed(0), PARTS)
    rows = torch.rand(9, 1, SIZE) * 255
    vector, camera, grid = rows[:, 0].split([3, 84, 25], -1)
    first, second = net.conv.encoders
    features = torch.cat(
        [vector, convolve(first, camera.view(-1, 6, 7, 2) / 255), convolve(second, grid.view(-1, 5, 5, 1))], -1
    )
    assert net.conv.features == features.shape[1]
    expected = features @ net.layers[0].weight[0] + net.layers[0].bias[0]
    torch.testing.assert_close(net(rows)[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_every_parameter_set_has_its_own_convolutions():
    net = SetNetwork((SIZE,), 4, (1, 0, 1), NetConfig(hidden=()), 1.0, torch.Generator().manual_seed(0), PARTS)
    rows = torch.rand(5, 3, SIZE)
    out = net(rows)
    for agent, own in enumerate((1, 0, 1)):
        alone = SetNetwork((SIZE,), 4, (0,), NetConfig(hidden=(), agent_id=False), 1.0, torch.Generator(), PARTS)
        with torch.no_grad():
            for mine, theirs in zip(
                alone.parameters(), [*net.conv.parameters(), *net.layers.parameters()], strict=True
            ):
                mine.copy_(theirs[own : own + 1])
            expected = alone(rows[:, agent : agent + 1])[:, 0] + net.ids.weight[agent]
        torch.testing.assert_close(out[:, agent], expected, rtol=1e-4, atol=1e-5)


def test_only_the_vector_is_normalised():
    normaliser = PartsNormaliser(PARTS)
    moments = RunningMoments(normaliser.mean.shape)
    rows = torch.randn(400, 2, SIZE) * 50 + 100
    normaliser.follow(moments, rows, torch.ones(400, 2))
    out = normaliser(rows)
    torch.testing.assert_close(out[..., :3].mean((0, 1)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(out[..., :3].std((0, 1)), torch.ones(3), atol=1e-2, rtol=0)
    assert torch.equal(out[..., 3:], rows[..., 3:])
    assert normaliser(rows * 1e6)[..., :3].abs().max() == CLIP
    # nothing to normalise, nothing to hold statistics of
    assert make_normaliser(ObsSpec((84,), np.dtype(np.uint8), (CAMERA,))) is None


def test_joint_rows_put_vectors_side_by_side_and_stack_images_along_channels():
    rows = torch.randn(4, 2, SIZE)
    joint = join(PARTS, rows)
    assert joint_parts(PARTS, 2) == (
        ObsPart("vector", (6,)),
        ObsPart("camera", (6, 7, 4), is_bytes=True),
        ObsPart("grid", (5, 5, 2)),
    )
    vector, camera, grid = joint.split([6, 168, 50], -1)
    assert torch.equal(vector, torch.cat([rows[:, 0, :3], rows[:, 1, :3]], -1))
    images = rows[..., 3:87].view(4, 2, 6, 7, 2)
    assert torch.equal(camera.view(4, 6, 7, 4), torch.cat([images[:, 0], images[:, 1]], -1))
    grids = rows[..., 87:].view(4, 2, 5, 5, 1)
    assert torch.equal(grid.view(4, 5, 5, 2), torch.cat([grids[:, 0], grids[:, 1]], -1))


def test_every_output_of_a_joint_critic_sees_every_part_of_every_agent():
    critic = Critic(mixed_spec(agents=2), NetConfig(), "joint")
    obs = torch.randn(3, 4, 2, SIZE, requires_grad=True)
    values = critic(critic.gather(obs, None))
    assert values.shape == (3, 4, 2)
    (gradient,) = torch.autograd.grad(values[1, 2, 0], obs)
    for part in gradient[1, 2].split([3, 84, 25], -1):
        assert (part.abs().sum(-1) > 0).all()
    assert gradient[0].eq(0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("indexed", [False, True], ids=["columns", "indexed"])
@pytest.mark.parametrize("sets", SETS.values(), ids=SETS.keys())
def test_the_learner_sees_what_the_actor_saw(sets, indexed, dtype):
    spec = mixed_spec(dtype, sets=sets, masked=True)
    actor = lively_actor(spec, hidden=(8,))
    obs, mask, index = random_inputs(spec, indexed=indexed)
    action, log_prob = make_acting(actor, spec, "cpu", 0).act(obs, mask, index)
    assert log_prob.std() > 0.1
    np.testing.assert_allclose(log_prob, learners_log_prob(actor, obs, mask, index, action), rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize(("critic", "source"), [("own", "own"), ("state", "joint")])
@pytest.mark.parametrize("rnn", ["none", "gru"])
@pytest.mark.parametrize("parts", [PARTS, (CAMERA, GRID)], ids=["mixed", "images"])
def test_an_update_is_on_policy_at_lag_zero_and_restores(critic, source, parts, rnn):
    spec = mixed_spec(parts=parts, source=source)
    hp = Hyperparameters(critic=critic, hidden=(8,), epochs=2, minibatches=2, actor_rnn=rnn, critic_rnn=rnn)
    algo = PPO(spec, hp, CPU, seed=1)
    batch = acted_batch(spec, algo.actor)
    metrics = algo.update(batch, 0.0)
    assert float(metrics["ratio_max_first"]) < 1e-4
    assert float(metrics["skipped_updates"]) == 0
    again = PPO(spec, hp, CPU, seed=2)
    again.load_state_dict(algo.state_dict())
    algo.update(batch, 0.0)
    again.update(batch, 0.0)
    for one, other in zip(algo.actor.state_dict().values(), again.actor.state_dict().values(), strict=True):
        assert torch.equal(one, other)
