"""A stand-in for a device with memory of its own, whose copies happen as late as they may."""

from __future__ import annotations

import torch

from sfmarl.transfers import Transfers


class LateTransfers(Transfers):
    """Reads nothing until `wait`: who lets a source be written again before that is found out."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(torch.device(device))
        self.separate = True
        self.asked: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.made = 0

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        self.asked.append((target, source))

    def wait(self) -> None:
        for target, source in self.asked:
            target.copy_(source)
        self.made += len(self.asked)
        self.asked.clear()
