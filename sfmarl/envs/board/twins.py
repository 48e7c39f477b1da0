"""Which native game plays PettingZoo's move for move: a policy of one plays the other."""

from __future__ import annotations

import re

TWINS = {"connect_four_v3": "native/connect_four", "tictactoe_v3": "native/tic_tac_toe"}
"""Module of `pettingzoo.classic` -> the native game with its agents, observations, masks and actions."""

_CLASSIC = re.compile(r"(?:pettingzoo\.classic\.|classic/)(\w+)[_-](v\d+)(?::\w+)?")


def native_twin(env: str) -> str:
    """Return the native game of an environment's name (`pettingzoo.classic.connect_four_v3`,
    `classic/tictactoe-v3`); the name itself where there is none."""
    match = _CLASSIC.fullmatch(env)
    return TWINS.get(f"{match[1]}_{match[2]}", env) if match else env
