"""Sentences about spaces: what the networks read of them, how actions are encoded, what slots of them cost."""

from __future__ import annotations

import numpy as np

from sfmarl.config import Config
from sfmarl.specs import EnvSpec, ObsPart, TeamSpec, is_image

LARGE_SLOT = 8 << 20
"""Bytes of one environment's slots of a team from which their size is told."""
LARGE_WORKER = 2 << 30
"""Bytes of a worker's slots from which it is a warning."""


def space_facts(config: Config, team: TeamSpec) -> list[str]:
    """Return what there is to say about the spaces of `team` beyond shape, dtype and number of actions."""
    facts = [*_observation(team), *_action(team)]
    if config.frame_stack > 1:
        facts.append(f"the last {config.frame_stack} frames are seen side by side (frame_stack)")
    return [f"team {team.name!r}: {fact}" for fact in facts]


def memory_facts(config: Config, spec: EnvSpec) -> tuple[list[str], list[str]]:
    """Return (facts, warnings) about the memory of slots, where it is worth a sentence."""
    facts, warnings = [], []
    for team in spec.teams:
        row = team.obs.dtype.itemsize * int(np.prod(team.obs.shape))
        _tell(config, f"observations of team {team.name!r}", len(team.agents), row, _SMALLER, facts, warnings)
    if spec.state_shape is not None:
        # every team's slot holds the state
        row = 4 * int(np.prod(spec.state_shape))
        hint = "give the critic the team's observations (--state-source joint), or use ippo or appo"
        _tell(config, "state() for a central critic", len(spec.teams), row, hint, facts, warnings)
    return facts, warnings


_SMALLER = "make them smaller (grey, resized), or lower --num-envs-per-worker or --rollout"


def _tell(
    config: Config, what: str, rows: int, row_bytes: int, hint: str, facts: list[str], warnings: list[str]
) -> None:
    """Add a sentence about `rows` rows of `row_bytes` per step of an environment."""
    per_env = config.ring * (config.rollout + 1) * rows * row_bytes
    if per_env < LARGE_SLOT:
        return
    per_worker = per_env * config.num_envs_per_worker
    sentence = (
        f"{what}: {_size(per_env)} of slots per environment (ring {config.ring} x {config.rollout + 1} steps x "
        f"{rows} x {_size(row_bytes)}), {_size(per_worker)} per worker of {config.num_envs_per_worker} environments"
    )
    if per_worker < LARGE_WORKER:
        facts.append(sentence)
    else:
        warnings.append(f"{sentence}: {hint}")


def _observation(team: TeamSpec) -> list[str]:
    obs = team.obs
    if is_image(obs.shape):
        scaled = ", bytes divided by 255" if obs.dtype == np.uint8 else ""
        return [f"the observation is an image [height, width, channels] for the convolutional encoder{scaled}"]
    images = [part for part in obs.parts if part.is_image]
    if not images:
        return []
    vector = sum(part.size for part in obs.parts if not part.is_image)
    beside = f"a vector of {vector} numbers and " if vector else ""
    facts = [f"the observation is {beside}{', '.join(map(_image, images))}; each image has convolutions of its own"]
    if obs.dtype == np.float32 and any(part.is_bytes for part in images):
        facts.append(
            "its row is float32, since not all of it fits into bytes: images of bytes take four times their size"
        )
    return facts


def _image(part: ObsPart) -> str:
    return f"image {part.name!r} {part.shape}"


def _action(team: TeamSpec) -> list[str]:
    action = team.action
    facts = []
    if action.parts:
        parts = ", ".join(".".join(map(str, part.path)) for part in action.parts)
        kind = "continuous action" if action.kind == "continuous" else "multi-discrete action"
        facts.append(f"its action of parts ({parts}) is learned as one {kind}, parts independent given the observation")
    if action.kind == "continuous":
        facts.append(
            "actions are drawn from a Gaussian, stored as drawn, and clipped to the bounds only for the environment"
        )
    return facts


def _size(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"
