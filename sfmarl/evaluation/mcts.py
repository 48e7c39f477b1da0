"""OpenSpiel's Monte-Carlo tree search as an opponent: it is shown the moves of a game, and knows the rules itself.

UCT with OpenSpiel's usual settings: c = 2, one random rollout per leaf, proven wins and losses are propagated (solve).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sfmarl.envs.board.twins import native_twin
from sfmarl.errors import RunError, UsageError
from sfmarl.seeding import seed_for

UCT_C = 2.0
"""Weight of exploration."""
ROLLOUTS = 1
"""Random games that a new leaf is judged by."""
MEMORY_MB = 256
"""Bound of the search tree."""


class OpenSpielGame(NamedTuple):
    """A game as OpenSpiel calls it."""

    name: str
    """What `pyspiel.load_game` takes."""
    action: Callable[[int], int] = int
    """Our action -> OpenSpiel's; one to one."""


GAMES: dict[str, OpenSpielGame] = {
    "native/connect_four": OpenSpielGame("connect_four"),
    # ours count down the columns, OpenSpiel's along the rows
    "native/tic_tac_toe": OpenSpielGame("tic_tac_toe", lambda square: square % 3 * 3 + square // 3),
}
"""Environment (a PettingZoo game goes by its native twin) -> the same game in OpenSpiel. Others may be added."""


class GameRules:
    """One of OpenSpiel's games, in the actions of the environment that it is."""

    def __init__(self, env: str, choices: int) -> None:
        """`env` is the environment's name, `choices` its number of actions.

        Raises UsageError for one that OpenSpiel is not known to have, and when OpenSpiel is not installed.
        """
        known = GAMES.get(native_twin(env))
        if known is None:
            raise UsageError(
                f"OpenSpiel's MCTS cannot play {env}: only {', '.join(GAMES)} and their PettingZoo versions are known "
                "to be games of OpenSpiel. Leave out mcts, or add the game to sfmarl.evaluation.mcts.GAMES."
            )
        try:
            import pyspiel
        except ImportError as error:
            raise UsageError(
                f"mcts players need OpenSpiel, which cannot be imported ({error}): pip install 'sfmarl[openspiel]'"
            ) from error
        self._env, self._choices = env, choices
        self._spiel = pyspiel
        self._game = pyspiel.load_game(known.name)
        self._theirs = [known.action(action) for action in range(choices)]
        self._ours = {theirs: ours for ours, theirs in enumerate(self._theirs)}

    def after(self, moves: Sequence[int]) -> Any:
        """Return OpenSpiel's state after `moves`. Raises RunError for a move that is not legal there."""
        state = self._game.new_initial_state()
        for move in moves:
            action = self._theirs[move]
            if state.is_terminal() or action not in state.legal_actions():
                raise self._other_game(moves, f"move {move} is not legal there")
            state.apply_action(action)
        return state

    def legal(self, state: Any) -> np.ndarray:
        """Return which of our actions are legal, bool [choices]."""
        mask = np.zeros(self._choices, bool)
        mask[[self._ours[action] for action in state.legal_actions()]] = True
        return mask

    def search(self, simulations: int, seed: int) -> Callable[[Sequence[int], int, np.ndarray | None], int]:
        """Return a player: (moves so far, seat to move, legal actions) -> our action."""
        evaluator = self._spiel.RandomRolloutEvaluator(ROLLOUTS, seed_for(seed, "rollouts"))
        bot = self._spiel.MCTSBot(
            self._game, evaluator, UCT_C, simulations, MEMORY_MB, True, seed_for(seed, "search"), False
        )

        def choose(moves: Sequence[int], seat: int, legal: np.ndarray | None) -> int:
            state = self.after(moves)
            if state.is_terminal() or state.current_player() != seat:
                raise self._other_game(moves, f"it is not the turn of seat {seat} there")
            if legal is not None and not np.array_equal(legal, self.legal(state)):
                raise self._other_game(moves, "other moves are legal there")
            return self._ours[bot.step(state)]

        return choose

    def _other_game(self, moves: Sequence[int], why: str) -> RunError:
        return RunError(
            f"{self._env} is not OpenSpiel's {self._game.get_type().short_name}: after the moves {list(moves)} {why}. "
            "Correct sfmarl.evaluation.mcts.GAMES, or leave out mcts."
        )
