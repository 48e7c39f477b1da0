"""Pictures of a league: they can be drawn, show what they are given, and leave pyplot alone."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
from PIL import Image

from sfmarl.monitor import league_pictures as pictures
from sfmarl.monitor.league_pictures import Rated, Table, compact, thinned


def table(count: int) -> Table:
    """Row i beats every column j > i; only neighbours have played; the first pair's interval is narrow."""
    games = np.where(np.abs(np.subtract.outer(np.arange(count), np.arange(count))) == 1, 10.0, 0.0)
    width = np.where(games > 0, 0.6, 1.0)
    width[0, 1] = width[1, 0] = 0.0
    names, snapshots = [f"#{i}" for i in range(count)], [i > 0 for i in range(count)]
    return Table(names, np.triu(np.ones((count, count)), 1), width, games, snapshots)


def axes_of(draw, monkeypatch):
    """Return the axes that `draw` puts names on."""
    kept = []
    monkeypatch.setattr(pictures, "_encoded", kept.append)
    draw()
    return kept[0].axes[0]


def written_on(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def pixels(picture: pictures.Picture) -> np.ndarray:
    image = Image.open(io.BytesIO(picture.png)).convert("RGB")
    assert image.size == (picture.width, picture.height)
    return np.asarray(image)


@pytest.mark.parametrize("count", [2, 24])
def test_a_payoff_shows_who_beats_whom(count):
    image = pixels(pictures.payoff_picture(table(count), "Payoff"))
    assert image.shape[0] < 900 and image.shape[1] < 900


def test_a_cell_is_coloured_by_win_rate_and_filled_by_certainty():
    import matplotlib

    image = pictures._squares(table(3), matplotlib.colormaps["RdBu"], pictures.CELL)
    cells = image.reshape(3, pictures.CELL, 3, pictures.CELL, 3).swapaxes(1, 2)
    blue, red = (cells[1, 2][..., 2] - cells[1, 2][..., 0]).max(), (cells[2, 1][..., 0] - cells[2, 1][..., 2]).max()
    assert blue > 0.2 and red > 0.2, "a win is blue, a loss red"

    def filled(cell):
        return np.count_nonzero(np.ptp(cell, axis=-1) > 0.05)

    assert filled(cells[0, 1]) > 1.5 * filled(cells[1, 2]) > 0
    assert filled(cells[0, 2]) == filled(cells[1, 1]) == 0, "no games, no square"


@pytest.mark.parametrize(("count", "width"), [(24, pictures.WIDTH), (60, 18.0)])
def test_every_row_and_column_has_its_name_where_there_is_room(count, width, monkeypatch):
    shown = table(count)
    axes = axes_of(lambda: pictures.payoff_picture(shown, "Payoff", width), monkeypatch)
    assert written_on(axes.yaxis) == written_on(axes.xaxis) == list(shown.names)
    assert axes.get_yticks().tolist() == list(range(count))


def test_where_there_is_none_learners_and_scripts_keep_theirs(monkeypatch):
    names = ["main", "random", *(f"#{i}" for i in range(60)), "weak", "mcts:50"]
    may_go = [name.startswith("#") for name in names]
    some = Table(names, np.full((64, 64), 0.5), np.ones((64, 64)), np.zeros((64, 64)), may_go, names[::-1])
    axes = axes_of(lambda: pictures.payoff_picture(some, "Payoff"), monkeypatch)
    labels = written_on(axes.yaxis)
    assert written_on(axes.xaxis) == [label.partition("  ")[0] for label in labels]
    assert len(labels) == int(pictures.NAMES_PER_INCH * pictures.WIDTH)
    assert {"main  mcts:50", "random  weak", "weak  random", "mcts:50  main", "#0  #59", "#59  #0"} < set(labels)
    groups = ["main", "weak", *(f"#{i}" for i in range(40))]
    met = dict.fromkeys(("main", "weak"), np.full(42, 1 / 42))
    kept = axes_of(lambda: pictures.opponents_picture(groups, met, "Opponents"), monkeypatch).figure.axes[-1]
    assert written_on(kept.xaxis)[:3] == ["main", "weak", "#0"] and written_on(kept.xaxis)[-1] == "#39"


def test_those_that_may_go_are_thinned_evenly_the_first_and_the_last_stay():
    may_go = [False, False, *[True] * 200]
    shown = thinned(may_go, 24)
    assert len(shown) == 24 == len(set(shown)) and shown[:3] == [0, 1, 2] and shown[-1] == 201
    assert np.diff(shown[2:]).max() <= 10
    assert thinned(may_go[:10], 24) == list(range(10))
    assert thinned([True, *[False] * 30, True, True], 24) == [*range(31), 32], "however many may not go"


def test_everything_is_drawn_in_a_thread_without_pyplot():
    from matplotlib import pyplot

    rated = Rated(
        ["main", "random", "#0", "#1"],
        ["main", "", "main", "main"],
        np.array([9e5, 0, 2e5, 4e5]),
        np.array([True, False, False, False]),
        np.array([1500.0, 1200, 1300, 1400]),
        np.array([20.0, 0, 90, 80]),
    )
    names, met = ["main", "#0", "#1 - #9"], {"main": np.array([0.5, 0.2, 0.3]), "other": np.zeros(3)}
    steps, over_time = np.array([1e5, 3e5, 9e5]), {name: np.stack([shares] * 3) for name, shares in met.items()}
    drawn = {}

    def draw():
        drawn["ratings"] = pictures.ratings_picture(rated, "Ratings")
        drawn["opponents"] = pictures.opponents_picture(names, met, "Opponents")
        drawn["over time"] = pictures.opponents_over_time_picture(steps, names, over_time, "Over time")
        drawn["once"] = pictures.opponents_over_time_picture(steps[:1], names, {"main": np.ones((1, 3))}, "Once")

    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    assert len(drawn) == 4 and not pyplot.get_fignums()
    for picture in drawn.values():
        assert pixels(picture).std() > 5


def test_env_steps_are_short():
    assert [compact(n) for n in (0, 950, 1500, 2_000_000, 12_340_000, 2e9)] == ["0", "950", "1.5k", "2M", "12.3M", "2G"]
