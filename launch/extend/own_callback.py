"""Your callback: code in the training loop. This one stops once a return has lasted, and logs the best one."""

import sys

import sfmarl
from sfmarl.command.launching import launch


class StopAtReturn(sfmarl.Callback):
    """Stop when the mean return of the first team was at least `goal` in `records` metric records in a row."""

    def __init__(self, goal: float, records: int = 3):
        self.goal, self.records, self.reached, self.best = goal, records, 0, -float("inf")

    def on_record(self, scalars):
        """Count the records and add the best return so far to this one, as `custom/best_return`."""
        value = scalars.get(f"episode/return_team/{self.run.env.teams[0].name}")
        if value is not None:
            self.best = max(self.best, value)
            self.reached = self.reached + 1 if value >= self.goal else 0
        if self.reached >= self.records:
            self.run.stop(f"return of at least {self.goal} in {self.records} records")
        return {"best_return": self.best} if self.best > -float("inf") else None

    def on_evaluation(self, evaluation):
        """Say what was measured."""
        self.run.tell(f"after {self.run.env_steps:,} env-steps: {evaluation.score:.2f}")


sfmarl.register_callback("stop_at_return", StopAtReturn)

CONFIG = sfmarl.Config(
    env="games/climbing",
    algo="ippo",
    env_steps=500_000,
    imports=(__file__,),
    callbacks=("stop_at_return?goal=170&records=3",),
)

if __name__ == "__main__":
    sys.exit(launch(CONFIG))
