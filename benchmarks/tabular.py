"""Two learners without networks in a game that is played again and again, each for itself.

`q_learners` act greedily on what each action earned, `averaging_players` answer the other's average so far. Both keep
one number per action: the game has no states.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sfmarl.envs.matrix.payoffs import Game


class Learned(NamedTuple):
    """How two learners went through a game."""

    probabilities: np.ndarray
    """[rounds, 2] float64: each player's probability of its action 0 after each round, exploration left out."""
    chosen: np.ndarray
    """[rounds, 2] int64: what was played."""

    @property
    def flips(self) -> np.ndarray:
        """[rounds, 2] int64: how often each player has changed its more probable action so far."""
        greedy = self.probabilities >= 0.5
        return np.cumsum(np.diff(greedy, axis=0, prepend=greedy[:1]), axis=0)


def q_learners(game: Game, rounds: int, seed: int, learning_rate: float = 0.1, exploration: float = 0.1) -> Learned:
    """Play with independent epsilon-greedy Q-learners (Claus & Boutilier 1998; no next state, so no discount).

    Q(a) += learning_rate (payoff - Q(a)) from Q = 0; of equal values the lower action is greedy.
    """
    rng = np.random.default_rng(seed)
    explores = rng.random((rounds, 2)) < exploration
    guesses = rng.integers(game.num_actions, size=(rounds, 2))
    payoffs = game.payoffs.tolist()
    values = [[0.0] * count for count in game.num_actions]
    greedy = [0, 0]
    probabilities, chosen = np.zeros((rounds, 2)), np.zeros((rounds, 2), np.int64)
    for t in range(rounds):
        a, b = (int(guesses[t, k]) if explores[t, k] else greedy[k] for k in range(2))
        for player, action in enumerate((a, b)):
            own = values[player]
            own[action] += learning_rate * (payoffs[player][a][b] - own[action])
            greedy[player] = own.index(max(own))
        chosen[t] = a, b
        probabilities[t] = [best == 0 for best in greedy]
    return Learned(probabilities, chosen)


def averaging_players(game: Game, rounds: int, seed: int, temperature: float = 0.25) -> Learned:
    """Play with two players that each draw from a soft best response to the other's average of past actions.

    Stochastic fictitious play (Fudenberg & Levine 1998, "The theory of learning in games", chapter 4): action
    probabilities are proportional to exp(expected payoff / temperature), the average begins with one round of each
    action.
    """
    rng = np.random.default_rng(seed)
    draws = rng.random((rounds, 2))
    counts = [np.ones(count) for count in game.num_actions]
    payoffs = game.payoffs[0], game.payoffs[1].T
    probabilities, chosen = np.zeros((rounds, 2)), np.zeros((rounds, 2), np.int64)
    for t in range(rounds):
        for player in range(2):
            other = counts[1 - player]
            expected = payoffs[player] @ (other / other.sum())
            weights = np.exp((expected - expected.max()) / temperature)
            weights /= weights.sum()
            probabilities[t, player] = weights[0]
            chosen[t, player] = min(
                np.searchsorted(np.cumsum(weights), draws[t, player], side="right"), len(weights) - 1
            )
        for player in range(2):
            counts[player][chosen[t, player]] += 1
    return Learned(probabilities, chosen)
