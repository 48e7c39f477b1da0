"""Two independent learners in matching pennies, whose only equilibrium is to toss the coin.

There is no best deterministic policy: whoever is predictable loses, so learners that act greedily chase each other for
ever. These learn probabilities. The share of rounds in which a player showed heads is `info/heads/player_0` and
`info/heads/player_1` in TensorBoard. Plain policy gradients go round one half in ever wider circles
(`--entropy-coef 0`). An entropy bonus pulls them in; that it is large costs nothing here, because no policy has more
entropy than the equilibrium. `benchmarks/matrix_games.py` draws both beside greedy Q-learners.
"""

import sys
from dataclasses import replace

from sfmarl import Config
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

# A round does not depend on the one before: nothing is gained by looking ahead.
CONFIG = Config(
    env="native/matching_pennies",
    algo="appo",
    hp=replace(
        get_algorithm("appo").hyperparameters(), hidden=(32,), lr=1e-3, gamma=0.0, trace_lambda=0.0, entropy_coef=0.5
    ),
    info_metrics=("heads:mean",),
    env_steps=300_000,
    num_workers=2,
    rollout=25,
    eval_env_steps=0,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
