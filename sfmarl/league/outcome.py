"""How a match ended: one number per seat, from 1 (above all others) to 0 (below all others). Never a shaped reward.

    outcome of a seat = share of the other seats it is above, equal ones counting half

Either the environment says how a match ended, as `info["outcome"]` of every agent at its last step: 1 won, 0 drawn, -1
lost (or `win`, `draw`, `loss`), or any numbers of which the larger is the better. Or its own rewards do: their sums
over the match, which must cancel out.

Two seats have 1 / 0, or .5 / .5 for a draw; the outcomes of N seats add up to N / 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sfmarl.errors import UsageError


def outcome_from_returns(returns: ArrayLike, total: float = 0.0, tolerance: float = 1e-6) -> np.ndarray:
    """Return the outcome [seats] float64 that the seats' unshaped returns [seats] over the whole match mean.

    `total` is what all returns of a match add up to: 0 in a zero-sum game. Raises UsageError when they do not, or are
    not finite: then returns alone do not say who won.
    """
    score = _one_number_per_seat(returns, "returns")
    size = max(1.0, float(np.abs(score).max()))
    if abs(score.sum() - total) > tolerance * size * len(score):
        raise UsageError(
            f"The outcome of a match cannot be read: the seats' returns {score.tolist()} add up to {score.sum():g}, "
            f'not {total:g}. Have the environment say who won, as info["outcome"] of every agent at the last step '
            "(1, 0 or -1), or pay the winners what the losers lose."
        )
    # returns that differ by rounding alone are a draw
    return _share_below(score, tolerance * size)


def outcome_from_info(stated: ArrayLike) -> np.ndarray:
    """Return the outcome [seats] float64 of what the environment said of each seat [seats]: the larger, the better.

    Raises UsageError when something was said of some seats only (NaN stands for nothing).
    """
    found = np.asarray(stated, np.float64)
    if np.isnan(found).any():
        silent = np.flatnonzero(np.isnan(found)).tolist()
        raise UsageError(
            f'The outcome of a match cannot be read: info["outcome"] is missing for seats {silent} of {len(found)}. '
            "Give it for every agent at the last step, also of a match that is cut off (0 = drawn)."
        )
    return _share_below(_one_number_per_seat(found, "outcomes"), 0.0)


def outcome_from_ranks(ranks: ArrayLike) -> np.ndarray:
    """Return the outcome [seats] float64 of places [seats]: 1 is the best, seats with equal places drew."""
    return _share_below(-_one_number_per_seat(ranks, "ranks"), 0.0)


def check_outcome(outcome: ArrayLike) -> np.ndarray:
    """Return `outcome` [seats] float64 if it is one. Raises UsageError, e.g. for rewards (1, -1) or ranks (1, 2)."""
    found = _one_number_per_seat(outcome, "outcome")
    if found.min() < 0 or found.max() > 1 or abs(found.sum() - len(found) / 2) > 1e-6:
        raise UsageError(
            f"The outcome of a match cannot be read: {found.tolist()} are not numbers in [0, 1] that add up to "
            f"{len(found) / 2:g}. Give each seat the share of the others it beat, a draw counting half."
        )
    return found


def _one_number_per_seat(values: ArrayLike, what: str) -> np.ndarray:
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"The outcome of a match cannot be read: its {what} {values!r} are no numbers.") from error
    if found.ndim != 1 or len(found) < 2 or not np.isfinite(found).all():
        raise UsageError(
            f"The outcome of a match cannot be read: its {what} {found.tolist()} are not one finite number for each of "
            "two or more seats."
        )
    return found


def _share_below(score: np.ndarray, margin: float) -> np.ndarray:
    difference = score[:, None] - score[None, :]
    above = np.where(difference > margin, 1.0, np.where(difference < -margin, 0.0, 0.5))
    return (above.sum(1) - 0.5) / (len(score) - 1)
