"""A callback that keeps an info of every episode: metric records are means over seconds, too coarse for fast cycles."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sfmarl import Callback
from sfmarl.monitor.episodes import Episodes

FILE = "rates.npy"


class EpisodeRates(Callback):
    """Writes RUN/rates.npy at the end: float64 [episodes, teams], in the order in which episodes were reported."""

    def __init__(self, key: str) -> None:
        """`key` is one of `Config.info_metrics`."""
        self._key = key
        self._rates: list[np.ndarray] = []

    def on_episodes(self, episodes: Episodes) -> None:
        """Keep what was reported."""
        self._rates.append(episodes.infos[self._key])

    def on_end(self, summary: object) -> None:
        """Write."""
        np.save(self.run.run_dir / FILE, np.concatenate(self._rates), allow_pickle=False)


def read_rates(run_dir: Path, num_envs: int) -> np.ndarray:
    """Return means over the `num_envs` copies' first, second, ... episodes: [episodes of a copy, teams].

    The copies must have been stepped together and their episodes must have had equal lengths.
    """
    rates = np.load(run_dir / FILE, allow_pickle=False)
    whole = len(rates) // num_envs
    return rates[: whole * num_envs].reshape(whole, num_envs, -1).mean(axis=1)
