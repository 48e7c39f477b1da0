"""What the trainer makes of what PettingZoo's and gymnasium's tests complain of, in words."""

from __future__ import annotations

import re

from sfmarl.envs.checks.guarded import Verdict

REFUSED = (
    (
        "possible.agents (defined but does|should always include)",
        "such an agent ends a run; name every agent that can appear in possible_agents",
    ),
    ("can not be an empty array", "there is nothing to learn from"),
    ("Rewards can only be one number|Reward must be finite|Rewards cannot be NaN", "such a reward ends a run"),
)
"""(pattern, what the trainer does) of assertions about what it refuses, too."""

HARMLESS = (
    ("revived|resurrect", "such an agent begins a new life, with a return of its own"),
    ("_space should return the exact same", "spaces are asked for once and compared by value"),
    ("last must return a None", "last(observe=False) is never called"),
    (r"^\[.*\] != (\{|set)", "an agent counts as alive while it is listed, observed and not flagged"),
    (r"issubset\(set\((obs|infos)", "an agent without an observation counts as dead, and infos may be missing"),
    ("Out of bounds observation|not contained in|not within the obs", "observations are stored as they are"),
    ("not all agents finished|must delete agents", "a step whose end an agent is never told is not learned from"),
    ("agents should not be given|must all be False", "what is said of agents that are not alive is ignored"),
    ("True or False", "any truth value will do"),
    ("accumulated rewards", "what last() returns is what is learned from"),
    (r"step\(\) must not return", "in turn-based environments nobody looks at what step() returns"),
    (r"(?i)render|close method", "nothing is rendered but animations"),
    (r"(?i)\binfos?\b", "infos are read only for action masks and --info-metrics"),
    ("unwrapped", "no environment is ever unwrapped"),
    (r"AECEnv|num_agents|must be a dict|isinstance\(\w+, dict\)", "methods and mappings count, not their types"),
    ("sample mask", "whatever is not zero in a mask counts as legal"),
    ("share an object", "observations are copied at once"),
    ("truncates after 1 step", "an episode of one step is an episode"),
)
"""(pattern, what the trainer does) of failures that training does not mind; the first that matches counts."""

SEEDING = r"(?i)seed|determinis|random gener|random number|np_random|\bIncorrect\b"
"""Failures of a test that plays an episode again."""


def consequence(verdict: Verdict, *, reproducible: bool, masked_by_info: bool) -> tuple[bool, str]:
    """Return (whether the trainer refuses what a test failed on, what the trainer does).

    `reproducible`: equal seeds gave the trainer equal episodes. `masked_by_info`: action masks lie in the infos.
    """
    if verdict.asserted:
        for pattern, meaning in REFUSED:
            if re.search(pattern, verdict.says):
                return True, f"the trainer refuses it, too: {meaning}"
    if "options" in verdict.call:
        return False, "training works anyway: options are never passed to reset()"
    if verdict.call == "step()" and masked_by_info:
        return False, (
            "training works anyway: this test does not read masks that lie in infos, so it may send illegal actions; "
            "the trainer sends legal ones only"
        )
    if verdict.call:
        return False, "the trainer's own play did not come upon it, but an exception of the environment ends a run"
    for pattern, meaning in HARMLESS:
        if re.search(pattern, verdict.says):
            return False, f"training works anyway: {meaning}"
    if reproducible and re.search(SEEDING, verdict.says):
        return False, "training works anyway: equal seeds gave the trainer equal episodes"
    return False, "training works anyway: the trainer's own checks did not come upon it"
