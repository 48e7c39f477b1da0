"""Connect Four by league: one policy plays itself and its past selves, the hard ones more often.

    python launch/connect_four_league.py
    python launch/connect_four_league.py --matchmaker latest --self-play 1.0

The game is the native one, move for move PettingZoo's connect_four_v3. Watch league/main/win_rate_random and the board
in TensorBoard. `sfmarl tournament RUN RUN@snapshots random mcts:50` says how good it is, `sfmarl play RUN` lets you
try. The second command is plain self-play without a pool of past selves.
"""

import sys
from dataclasses import replace

from sfmarl import Config, LeagueConfig
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

# Many games side by side, few processes: what costs is acting for the learner and for its frozen opponents, and both
# are cheap per row when rows are many. Minibatches make up for the size of a batch.
CONFIG = Config(
    env="native/connect_four",
    algo="ippo",
    hp=replace(
        get_algorithm("ippo").hyperparameters(),
        hidden=(256, 256),
        activation="relu",
        normalise_obs=False,
        gamma=0.99,
        lr=1e-3,
        lr_schedule="linear",
        lr_final=0.1,
        entropy_coef=0.1,
        epochs=2,
        minibatches=8,
    ),
    league=LeagueConfig(matchmaker="pfsp?weighting=squared", self_play=0.5, snapshot_env_steps=250_000),
    env_steps=10_000_000,
    num_workers=1,
    num_envs_per_worker=256,
    inference="local",
    num_splits=1,
    eval_env_steps=0,
    final_eval_episodes=0,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
