import pytest
import torch

from sfmarl.models.encoders import NetConfig, SetNetwork

SETS = {"full": (0, 0, 0, 0), "none": (0, 1, 2, 3), "roles": (0, 1, 1, 0)}


def network(sets, agent_id=True, shape=(5,), hidden=(16, 8)) -> SetNetwork:
    config = NetConfig(hidden=hidden, agent_id=agent_id)
    return SetNetwork(shape, 3, sets, config, 1.0, torch.Generator().manual_seed(0))


def one_agent(net: SetNetwork, x: torch.Tensor, agent: int) -> torch.Tensor:
    """What `agent` should compute for rows x [M, F]: its set's plain MLP on the observation and its one-hot."""
    which = net.parameter_set[agent]
    for i, layer in enumerate(net.layers):
        weight = layer.weight[which]
        if i == 0 and net.ids is not None:
            weight = torch.cat([weight, net.ids.weight])
            x = torch.cat([x, torch.eye(net.num_agents)[agent].expand(len(x), -1)], -1)
        x = x @ weight + layer.bias[which]
        x = x if i == len(net.layers) - 1 else x.tanh()
    return x


def randomise(net: SetNetwork) -> SetNetwork:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return net


@pytest.mark.parametrize("hidden", [(16, 8), ()])
@pytest.mark.parametrize("agent_id", [True, False])
@pytest.mark.parametrize("sets", SETS.values(), ids=SETS.keys())
def test_each_agent_is_its_sets_mlp_on_the_concatenated_one_hot(sets, agent_id, hidden):
    net = randomise(network(sets, agent_id, hidden=hidden))
    x = torch.randn(6, 2, 4, 5, generator=torch.Generator().manual_seed(2))
    y = net(x)
    assert (net.ids is not None) == (agent_id and len(set(sets)) < 4)
    for agent in range(4):
        expected = one_agent(net, x[:, :, agent].reshape(12, 5), agent).reshape(6, 2, 3)
        torch.testing.assert_close(y[:, :, agent], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sets", SETS.values(), ids=SETS.keys())
@pytest.mark.parametrize("shape", [(5,), (6, 6, 2)], ids=["vector", "image"])
def test_agent_index_gives_the_same_outputs_and_gradients(sets, shape):
    net = randomise(network(sets, shape=shape))
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3, 7, 4, *shape, generator=generator)
    index = torch.randint(4, (7, 2), generator=generator)
    gathered = x.gather(2, index.reshape(1, 7, 2, *(1,) * len(shape)).expand(3, 7, 2, *shape))
    by_column = net(x).gather(2, index.reshape(1, 7, 2, 1).expand(3, 7, 2, 3))
    by_index = net(gathered, index)
    torch.testing.assert_close(by_index, by_column, rtol=1e-5, atol=1e-5)
    weight = torch.randn(by_index.shape, generator=generator)
    parameters = list(net.parameters())
    for a, b in zip(
        torch.autograd.grad((by_index * weight).sum(), parameters),
        torch.autograd.grad((by_column * weight).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_sets_do_not_learn_from_each_other():
    net = network(SETS["none"])
    net(torch.randn(3, 4, 5))[:, 2].sum().backward()
    touched = net.layers[0].weight.grad.abs().sum((1, 2)) > 0
    assert touched.tolist() == [False, False, True, False]


def test_initialisation_is_that_of_the_concatenated_matrix():
    net = network(SETS["full"])
    joint = torch.cat([net.layers[0].weight[0], net.ids.weight]).detach()
    torch.testing.assert_close(joint @ joint.T, 2.0 * torch.eye(9), rtol=0, atol=1e-5)


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(0)
    a = network(SETS["roles"], shape=(8, 8, 3))
    torch.manual_seed(1)
    b = network(SETS["roles"], shape=(8, 8, 3))
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
