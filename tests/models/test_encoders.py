import pytest
import torch
from torch.nn import functional as F

from sfmarl.models.encoders import NetConfig, SetNetwork

GENERATOR = torch.Generator().manual_seed(0)


def test_nature_cnn_on_bytes():
    net = SetNetwork((84, 84, 4), 6, (0,), NetConfig(hidden=(512,)), 0.01, GENERATOR)
    assert net.conv.features == 3136
    image = torch.randint(256, (2, 1, 84, 84, 4), dtype=torch.uint8)
    x = image[:, 0].permute(0, 3, 1, 2) / 255.0
    for weight, bias, stride in zip(net.conv.weights, net.conv.biases, (4, 2, 1), strict=True):
        x = F.relu(F.conv2d(x, weight[0], bias[0], stride))
    x = torch.tanh(x.flatten(1) @ net.layers[0].weight[0] + net.layers[0].bias[0])
    expected = x @ net.layers[1].weight[0] + net.layers[1].bias[0]
    torch.testing.assert_close(net(image)[:, 0], expected, rtol=1e-4, atol=1e-6)
    # a float image is taken as it is
    torch.testing.assert_close(net(image / 255.0), net(image), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_layer_norm_follows_the_activation(activation):
    net = SetNetwork((3,), 2, (0,), NetConfig(hidden=(8,), activation=activation, layer_norm=True), 1.0, GENERATOR)
    x = torch.randn(5, 1, 3)
    hidden = getattr(torch, activation)(x @ net.layers[0].weight[0])
    expected = F.layer_norm(hidden, (8,)) @ net.layers[1].weight[0]
    torch.testing.assert_close(net(x), expected)


def test_images_too_small_to_convolve_are_vectors():
    net = SetNetwork((3, 3, 2), 2, (0,), NetConfig(hidden=()), 1.0, GENERATOR)
    assert net.conv is None
    x = torch.randn(4, 1, 3, 3, 2)
    torch.testing.assert_close(net(x), x.flatten(2) @ net.layers[0].weight[0])
