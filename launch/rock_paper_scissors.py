"""Rock-paper-scissors by league: whoever plays only its newest self goes in circles, a pool of past selves does not.

    python launch/rock_paper_scissors.py
    python launch/rock_paper_scissors.py --matchmaker latest --entropy-coef 0.05

The only unbeatable strategy is to choose evenly, and any best response to a strategy is beaten by the next. Here the
player meets all its snapshots equally often (fictitious self-play), so that what it plays on average over the pool
comes ever closer to even. With the second command it meets itself as it is now, and goes from rock to paper to scissors
for ever. `benchmarks/rps_league.py` reads the strategies of all snapshots of both and draws them.

Advantages are not standardised, so the entropy bonus stays in proportion to what a round is worth (a win is 1, a nat
.15). It keeps a player that has beaten its pool for long from becoming so certain that it tries nothing else any more.
Who meets only itself does not need so much, and with less it goes further round.
"""

import sys
from dataclasses import replace

from sfmarl import Config, LeagueConfig
from sfmarl.algorithms import get_algorithm
from sfmarl.command.launching import launch

# Nothing is seen and a round does not depend on the one before: nothing is gained by looking ahead, and what is
# constant must not be normalised away. A snapshot is taken after about five updates, which move a good way towards the
# best response, and never sooner.
CONFIG = Config(
    env="native/rock_paper_scissors",
    env_kwargs={"length": 5},
    algo="appo",
    hp=replace(
        get_algorithm("appo").hyperparameters(),
        hidden=(32,),
        lr=4e-3,
        gamma=0.0,
        trace_lambda=0.0,
        entropy_coef=0.15,
        normalise_advantages=False,
        normalise_obs=False,
    ),
    league=LeagueConfig(
        matchmaker="uniform",
        self_play=0.0,
        snapshot_env_steps=2_400,
        snapshot_win_rate=1.0,
        live_snapshots=160,
        pool_size=1_000,
        evaluation_share=0.0,
    ),
    env_steps=360_000,
    num_workers=2,
    num_envs_per_worker=48,
    num_splits=1,
    rollout=5,
    eval_env_steps=0,
    final_eval_episodes=0,
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
