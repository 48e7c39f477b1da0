"""Words of a search: what they mean, and what is refused before anything is trained."""

from __future__ import annotations

import pytest

from sfmarl.algorithms import get_algorithm
from sfmarl.config import Config
from sfmarl.errors import UsageError
from sfmarl.results.search_space import Dimension, applied, parse_search

CONFIG = Config(env="games/climbing", algo="ippo", hp=get_algorithm("ippo").hyperparameters())


class Lowest:
    """Suggests the least value of everything and remembers how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []

    def suggest_float(self, name, low, high, *, log=False):
        self.asked.append(("float", low, high, log))
        return low

    def suggest_int(self, name, low, high, *, step=1, log=False):
        self.asked.append(("int", low, high, step, log))
        return low

    def suggest_categorical(self, name, choices):
        self.asked.append(("choice", *choices))
        return choices[-1]


@pytest.mark.parametrize(
    ("word", "asked", "value"),
    [
        ("lr=log:1e-4..1.5e-2", ("float", 1e-4, 1.5e-2, True), 1e-4),
        ("gamma=0.9..0.99", ("float", 0.9, 0.99, False), 0.9),
        ("stop_score=-40.5..-3", ("float", -40.5, -3, False), -40.5),
        ("rollout=16..64", ("int", 16, 64, 1, False), 16),
        ("rollout=int:16..64", ("int", 16, 64, 1, False), 16),
        ("rollout=log:1e1..64", ("int", 10, 64, 1, True), 10),
        ("num_envs_per_worker=8..32/8", ("int", 8, 32, 8, False), 8),
        ("gamma=0.9,0.95", ("choice", "0.9", "0.95"), 0.95),
        ("gamma=.9,.95", ("choice", "0.9", "0.95"), 0.95),
        ("hidden=[64],[64, 64]", ("choice", "[64]", "[64, 64]"), [64, 64]),
        ("critic=own,state", ("choice", '"own"', '"state"'), "state"),
        ("normalise_obs=true,false", ("choice", "true", "false"), False),
        ("env_kwargs.payoff=1,word", ("choice", "1", '"word"'), "word"),
    ],
)
def test_words_become_suggestions(word, asked, value):
    name, _, text = word.partition("=")
    (dimension,) = parse_search({name: text}, CONFIG)
    trial = Lowest()
    suggested = dimension.suggest(trial)
    assert trial.asked == [asked]
    assert suggested == value and type(suggested) is type(value)
    if dimension.choices:
        assert dimension.stored(trial.suggest_categorical(name, list(asked[1:]))) == value


def test_values_go_where_they_belong():
    changed = applied(CONFIG, {"rollout": 8, "lr": 0.5, "hidden": [3, 4], "env_kwargs.N": 2})
    assert (changed.rollout, changed.hp.lr, changed.hp.hidden, changed.env_kwargs) == (8, 0.5, (3, 4), {"N": 2})
    assert (CONFIG.env_kwargs, CONFIG.hp) == ({}, get_algorithm("ippo").hyperparameters())


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("gama=0.9,0.99", r"no setting 'gama'\. Did you mean 'gamma'"),
        ("env_kwargs.=1,2", "no setting 'env_kwargs.'"),
        ("algo=ippo,mappo", "algo: it is not searched, because presets differ"),
        ("seed=1,2", "would be luck"),
        ("lr=log:0..1", "above 0"),
        ("lr=1..1", "the range is empty"),
        ("rollout=2.5..8", "whole numbers"),
        ("rollout=2..8/0", "step must be 1"),
        ("rollout=log:2..8/2", "has no step"),
        ("lr=low..high", "could not convert string to float"),
        ("lr=0.5", "two values or more"),
        ("lr=", "two values or more"),
        ("lr=1,1", "a value is given twice"),
        ("gamma=0.5..1.5", r"gamma must lie in \[0, 1\], got 1\.5"),
        ("mode=sync,asyc", "mode = 'asyc'.* async | sync | serial"),
        ("rollout=8,fast", "rollout = 'fast'"),
    ],
)
def test_what_cannot_be_searched_is_refused(word, expected):
    name, _, text = word.partition("=")
    with pytest.raises(UsageError, match=expected):
        parse_search({name: text}, CONFIG)


def test_nothing_searched_says_how_to_search():
    with pytest.raises(UsageError, match=r"--search SETTING=VALUES .*log:A\.\.B"):
        parse_search({}, CONFIG)


def test_dimensions_are_what_they_say():
    assert parse_search({"lr": "log:1e-4..1"}, CONFIG) == [Dimension("lr", 1e-4, 1.0, log=True)]
