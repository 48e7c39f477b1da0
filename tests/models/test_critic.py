import numpy as np
import pytest
import torch

from sfmarl.models.critic import Critic
from sfmarl.models.encoders import NetConfig
from sfmarl.specs import ActionSpec, ObsSpec, PolicySpec
from tests.algorithms.synthetic_batches import policy_spec


def test_agent_index_selects_the_state_critics_output():
    critic = Critic(policy_spec(source="env", state_shape=(4,)), NetConfig(), "env")
    state, index = torch.randn(6, 5, 4), torch.tensor([[2], [0], [1], [2], [1]])
    by_column, by_index = critic(state), critic(state, index)
    assert by_column.shape == (6, 5, 3)
    for lane, agent in enumerate(index[:, 0].tolist()):
        assert torch.equal(by_index[:, lane, 0], by_column[:, lane, agent])


@pytest.mark.parametrize("shape", [(5,), (6, 6, 2)])
def test_every_output_of_a_joint_critic_sees_every_agent(shape):
    spec = PolicySpec(
        "p", ObsSpec(shape, np.dtype(np.float32)), ActionSpec("discrete", (2,), (0,)), False, (0, 1), (0, 0)
    )
    critic = Critic(spec, NetConfig(), "joint")
    obs = torch.randn(3, 4, 2, *shape, requires_grad=True)
    values = critic(critic.gather(obs, None))
    assert values.shape == (3, 4, 2)
    for agent in range(2):
        (gradient,) = torch.autograd.grad(values[1, 2, agent], obs, retain_graph=True)
        assert (gradient[1, 2].flatten(1).abs().sum(1) > 0).all()
        assert gradient[0].eq(0).all()
