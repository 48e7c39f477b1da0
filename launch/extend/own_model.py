"""Your network: an encoder that treats all landmarks of simple_spread alike (deep sets, Zaheer et al. 2017)."""

import sys
from dataclasses import replace

import torch
from torch import nn

import sfmarl
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch


class Landmarks(nn.Module):
    """Own state and the others as they are; the landmarks' offsets through one network, of which the maximum counts."""

    def __init__(self, shape, landmarks=3, units=32):
        super().__init__()
        self.landmarks = landmarks
        self.each = nn.Sequential(nn.Linear(2, units), nn.Tanh(), nn.Linear(units, units), nn.Tanh())

    def forward(self, rows):
        """Map observations [M, 4 + 2 * landmarks + ...] to features [M, F]."""
        own, offsets, others = rows.split([4, 2 * self.landmarks, rows.shape[1] - 4 - 2 * self.landmarks], 1)
        seen = self.each(offsets.unflatten(1, (self.landmarks, 2))).amax(1)
        return torch.cat([own, seen, others], 1)


sfmarl.register_model("landmarks", Landmarks)

CONFIG = sfmarl.Config(
    env="mpe2.simple_spread_v3",
    env_kwargs={"N": 3},
    algo="mappo",
    hp=replace(get_algorithm("mappo").hyperparameters(), encoder="landmarks"),
    imports=(__file__,),
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
