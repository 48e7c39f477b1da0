"""Your league: whom a player meets, and which snapshot goes when the pool is full. Two small rules of one's own."""

import sys
from dataclasses import dataclass

import numpy as np

import sfmarl
from sfmarl.command.launching import launch


@dataclass(frozen=True)
class Even:
    """Meet whom you beat about half the time: a weight of exp(-((x - 1/2) / width)^2) at win rate x."""

    width: float = 0.2

    def distribution(self, view):
        """Return probabilities over the opponents that `view` (`sfmarl.league.view.View`) describes."""
        weights = np.where(view.frozen, np.exp(-(((view.win_rates - 0.5) / self.width) ** 2)), 0.0)
        return weights / weights.sum()


def middle(entries, may_go, keep=2):
    """Let the middle one go of those that may; the first and the last `keep` entries stay if they can."""
    may = [place for place, free in enumerate(may_go) if free]
    inner = [place for place in may if keep <= place < len(entries) - keep] or may
    return inner[len(inner) // 2]


sfmarl.register_matchmaker("even", Even)
sfmarl.register_eviction_rule("middle", middle)

CONFIG = sfmarl.Config(
    env="native/tic_tac_toe",
    algo="ippo",
    env_steps=1_000_000,
    imports=(__file__,),
    league=sfmarl.LeagueConfig(
        matchmaker="even?width=0.25", eviction="middle?keep=1", snapshot_env_steps=50_000, pool_size=12
    ),
    eval_env_steps=0,
    final_eval_episodes=0,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
