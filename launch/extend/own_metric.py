"""Your metrics: entries of the infos by name, and functions of finished episodes. Also in every evaluation."""

import sys

import own_env  # noqa: F401 (registers `meet`)

import sfmarl
from sfmarl.command.launching import launch


def unfairness(episodes):
    """Mean gap between the best and the worst paid agent of an episode."""
    return (episodes.returns.max(axis=1) - episodes.returns.min(axis=1)).mean()


def always_together(episodes):
    """Share of episodes in which the agents of `meet` were together for at least half of the time."""
    return (episodes.info_of("met", team="agent") >= 0.5).mean()


sfmarl.register_metric("unfairness", unfairness, unit="reward")
sfmarl.register_metric("together", always_together)

CONFIG = sfmarl.Config(
    env="meet",
    algo="ippo",
    env_steps=200_000,
    imports=(__file__,),
    info_metrics=("met:mean",),
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
