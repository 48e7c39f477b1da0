"""Views of made-up leagues."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from sfmarl.league.view import View


def make_view(win_rates, live: int = 0, players=None, roles=None, player: str = "me", **fields) -> View:
    """Return a view of len(win_rates) opponents, the last `live` of which are learning."""
    count = len(win_rates)
    players = tuple(players or ("me",) * count)
    defaults = {
        "games": np.full(count, 100.0),
        "rating": 0.0,
        "ratings": np.zeros(count),
        "quality": np.zeros(count),
    }
    return View(
        player=player,
        keys=tuple(f"{name}/{i}" for i, name in enumerate(players)),
        players=players,
        roles=tuple(roles or ("simple",) * count),
        live=np.arange(count) >= count - live,
        win_rates=np.asarray(win_rates, np.float64),
        **{**defaults, **fields},
    )


@st.composite
def views(draw):
    """Draw views of 1 to 12 opponents of one to three players, some of them learning."""
    count = draw(st.integers(1, 12))

    def numbers(low, high):
        return np.array(draw(st.lists(st.floats(low, high), min_size=count, max_size=count)))

    return make_view(
        numbers(0, 1),
        draw(st.integers(0, count)),
        draw(st.lists(st.sampled_from(["me", "you", "she"]), min_size=count, max_size=count)),
        draw(st.lists(st.sampled_from(["main", "main_exploiter"]), min_size=count, max_size=count)),
        games=numbers(0, 50),
        rating=draw(st.floats(-3000, 3000)),
        ratings=numbers(-3000, 3000),
        quality=numbers(-500, 500),
        meta=numbers(0, 1),
    )
