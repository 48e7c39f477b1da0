"""The environments alone: what is prepared for native games is what they are then given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sfmarl.config import Config
from sfmarl.envs.board.connect_four import ConnectFour
from sfmarl.envs.registry import register_env


class Fickle(ConnectFour):
    """In every second game another column is closed from the beginning."""

    def __init__(self, num_envs, seeds):
        super().__init__(num_envs, seeds)
        self._games = 0

    def reset(self, envs):
        super().reset(envs)
        self._games += 1
        self._legal[envs, self._games % 2] = False


def test_native_games_play_the_moves_that_were_prepared(monkeypatch):
    """Legal ones of whole games, and again from the beginning; as many turns as are counted."""
    import bare_env

    monkeypatch.setattr(bare_env, "PREPARED_TURNS", 60)
    acted = []
    act = ConnectFour.act
    monkeypatch.setattr(ConnectFour, "act", lambda self, envs, moves: acted.append(len(envs)) or act(self, envs, moves))
    work = bare_env.env_work(Config("native/connect_four"), 4, seed=1)
    acted.clear()
    assert sum(work() for _ in range(150)) == sum(acted) == 4 * 150


def test_games_whose_moves_cannot_be_known_are_refused(monkeypatch):
    import bare_env

    register_env("test/fickle", Fickle)
    monkeypatch.setattr(bare_env, "PREPARED_TURNS", 3)
    with pytest.raises(ValueError, match="differ from game to game"):
        bare_env.env_work(Config("test/fickle"), 16, seed=1)


def test_a_native_game_without_masks_is_replayed(monkeypatch):
    """Nothing is compared then, and nothing is written to a mask."""
    import bare_env

    class Open(ConnectFour):
        def __init__(self, num_envs, seeds):
            super().__init__(num_envs, seeds)
            self.spec = replace(self.spec, teams=tuple(replace(team, has_mask=False) for team in self.spec.teams))

        def act(self, envs, actions):
            legal = self._legal[envs]
            return super().act(envs, np.where(legal[np.arange(len(envs)), actions], actions, legal.argmax(axis=1)))

    register_env("test/open", Open)
    monkeypatch.setattr(bare_env, "PREPARED_TURNS", 30)
    assert bare_env.env_work(Config("test/open"), 3, seed=1)() == 3
