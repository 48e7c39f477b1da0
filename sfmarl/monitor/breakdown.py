"""Where the time goes, and which part of the house the others wait for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sfmarl.memory.words import INFERENCE_TIMES, LEARNER_TIMES, ROLLOUT_TIMES

CATEGORIES: dict[str, tuple[str, ...]] = {
    "rollout": ROLLOUT_TIMES,
    "inference": INFERENCE_TIMES,
    "learner": LEARNER_TIMES,
}
"""Role -> what its processes spend their time on. `env`: environment steps; `write`: rollout bookkeeping; the waits:
for actions (with local inference: until they are computed), for a free slot, for tickets, for full slots; `weights` and
`publish`: taking and giving new weights; `gather` and `scatter`: copies from and to shared memory."""

BUSY = 0.9
"""Share of its time from which a role counts as saturated."""

WAITING = 0.2
"""Share of the rollout workers' time from which waiting for something counts as being held up by it."""


@dataclass(frozen=True)
class Breakdown:
    """Shares of wall time and what they mean."""

    fractions: dict[str, dict[str, float]]
    """Role -> category -> share of the role's measured time; the shares of a role add up to 1."""
    bottleneck: str
    """`learner` | `inference` | `environment`, or `` while nothing was measured."""
    sentence: str
    """The bottleneck and what to do about it, in words."""

    def scalars(self) -> dict[str, float]:
        """Return `time/<role>/<category>` scalars."""
        return {f"time/{role}/{name}": x for role, shares in self.fractions.items() for name, x in shares.items()}


def break_down(seconds: Mapping[str, Mapping[str, float]], local_inference: bool = False) -> Breakdown:
    """Turn seconds per role and category (summed over a role's processes) into shares and a diagnosis.

    Roles without any time are left out. Asynchronous roles overlap, so the slowest is the one that is never waiting:
    a saturated learner, or rollout workers out of free slots, point at the learner; rollout workers out of actions
    while inference is busy point at inference; otherwise the environment itself sets the pace. With `local_inference`
    rollout workers compute actions themselves: that is the bottleneck where it takes more of their time than stepping.
    """
    fractions: dict[str, dict[str, float]] = {}
    for role, spent in seconds.items():
        total = sum(spent.values())
        if total > 0:
            fractions[role] = {name: value / total for name, value in spent.items()}
    rollout = fractions.get("rollout", {})
    busy = {role: 1 - fractions[role].get("wait", 0.0) for role in ("inference", "learner") if role in fractions}
    wait_slots, wait_actions = rollout.get("wait_slots", 0.0), rollout.get("wait_actions", 0.0)
    learner, inference = busy.get("learner", 0.0), busy.get("inference", 0.0)
    if not fractions:
        return Breakdown(fractions, "", "Nothing has been measured yet.")
    if learner >= BUSY or (wait_slots >= WAITING and wait_slots >= wait_actions):
        why = f"learner busy {learner:.0%}, rollout workers wait for it {wait_slots:.0%} of the time"
        advice = "fewer epochs, a smaller network, more learner threads or a GPU would help; more workers would not"
        return Breakdown(fractions, "learner", f"The learner is the bottleneck ({why}): {advice}.")
    env, write = rollout.get("env", 0.0), rollout.get("write", 0.0)
    stepping = f"{env:.0%} in env steps and {write:.0%} in bookkeeping"
    if local_inference:
        why = f"rollout workers spend {wait_actions:.0%} in computing actions, {stepping}, learner busy {learner:.0%}"
        if wait_actions > env + write:
            advice = "a smaller network, more envs per worker, more rollout workers or a GPU would help"
            return Breakdown(fractions, "inference", f"Inference is the bottleneck ({why}): {advice}.")
        advice = "more rollout workers or a faster environment would help"
        return Breakdown(fractions, "environment", f"The environment is the bottleneck ({why}): {advice}.")
    if wait_actions >= WAITING and inference >= 1 - WAITING:
        why = f"inference busy {inference:.0%}, rollout workers wait for actions {wait_actions:.0%} of the time"
        advice = "a smaller network, more inference workers or a GPU would help"
        return Breakdown(fractions, "inference", f"Inference is the bottleneck ({why}): {advice}.")
    why = f"rollout workers spend {stepping}, learner busy {learner:.0%}"
    advice = "more rollout workers or a faster environment would help"
    if wait_actions >= WAITING:
        advice = (
            f"they also wait {wait_actions:.0%} for actions: more envs per worker would hide it; otherwise {advice}"
        )
    return Breakdown(fractions, "environment", f"The environment is the bottleneck ({why}): {advice}.")
