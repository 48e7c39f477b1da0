"""Two independent learners in the iterated prisoner's dilemma: do they keep cooperating?

Each has a policy of its own and sees what both did in the round before, enough for tit for tat. The share of rounds in
which a player cooperated is `info/cooperate/player_0` and `info/cooperate/player_1` in TensorBoard; what it earned in
100 rounds is its return: 300 where both cooperate, 100 where both defect. `benchmarks/matrix_games.py` draws the rate
over time for several seeds.
"""

import sys
from dataclasses import replace

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

CONFIG = Config(
    env="native/prisoners_dilemma",
    algo="appo",
    hp=replace(get_algorithm("appo").hyperparameters(), hidden=(32,), lr=1e-3, gamma=0.96),
    info_metrics=("cooperate:mean",),
    env_steps=600_000,
    num_workers=2,
    eval_env_steps=0,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
