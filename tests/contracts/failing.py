"""Scripted environments that fail at known moments; what they have done until then is kept over every replacement."""

from __future__ import annotations

import contextlib

import numpy as np
from script import ScriptedVectorEnv
from scripted_games import ScriptedGames
from scripted_turns import ScriptedTurnEnv

from sfmarl.envs.guards import GuardedTurnEnv, GuardedTurnVectorEnv, GuardedVectorEnv


def dice(seed: int, *where: int) -> np.random.Generator:
    return np.random.default_rng((seed, 99, *where))


class FailingCopies(ScriptedVectorEnv):
    """A vector env whose copies fail one by one (`Rebuilt`), a third of their episodes, at any step.

    What it writes of a copy that fails is garbage.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.failed: list[int] = []
        self.broken: dict[tuple[int, int], int] = {}
        """(env, episode) -> the step in which it failed."""

    def fails(self, env: int) -> bool:
        rng = dice(self.seed, env, int(self.episode[env]))
        at = int(rng.integers(0, self.current(env).length))
        return rng.random() < 0.4 and self.step_of[env] == at

    def reset(self, envs, out) -> None:
        self.failed = []
        super().reset(envs, out)

    def step(self, actions, running, out, outcome) -> np.ndarray:
        self.failed = [env for env in np.flatnonzero(running).tolist() if self.fails(env)]
        for env in self.failed:
            self.broken[env, int(self.episode[env])] = int(self.step_of[env])
        alright = running.copy()
        alright[self.failed] = False
        ended = super().step(actions, alright, out, outcome)
        for rows, result in zip(out, outcome, strict=True):
            rows.obs[self.failed] = result.reward[self.failed] = np.nan
            rows.active[self.failed] = rows.is_first[self.failed] = result.terminated[self.failed] = True
            rows.action_mask[self.failed] = False
        return ended


class FailingWhole(ScriptedVectorEnv):
    """A native vector env that fails as a whole every few calls, in all the ways there are."""

    KINDS = ("step", "late", "obs", "reward", "state", "reset", "late reset")

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.broken: dict[tuple[int, int], int] = {}
        self.calls = 0
        self.closed = False
        self.running = np.zeros(self.num_envs, bool)
        """Episodes that have begun and not ended."""
        self.happened: list[str] = []

    def successor(self) -> FailingWhole:
        """A new object that goes on in the script: nothing happens twice."""
        assert self.closed
        new = FailingWhole(self.spec, self.num_envs, self.seed, self.deaths)
        new.episode, new.broken, new.happened = self.episode, self.broken, self.happened
        new.calls, new.step_of = self.calls, self.step_of
        return new

    def _dies_by(self, kinds) -> str | None:
        self.calls += 1
        if dice(self.seed, self.calls).random() > 0.06:
            return None
        # each in its turn
        self.happened.append(min(kinds, key=self.happened.count))
        return self.happened[-1]

    def _break(self) -> None:
        for env in np.flatnonzero(self.running).tolist():
            self.broken[env, int(self.episode[env])] = int(self.step_of[env])

    def reset(self, envs, out) -> None:
        kind = self._dies_by(self.KINDS[5:])
        if kind is not None:
            self.running[envs] = False
            self._break()
        if kind == "reset":
            raise OSError("the map is gone")
        super().reset(envs, out)
        if kind is not None:
            # these episodes are known to nobody
            for env in envs:
                self.broken[env, int(self.episode[env])] = 0
            out[0].obs[envs] = np.inf
        self.running[envs] = True

    def step(self, actions, running, out, outcome) -> np.ndarray:
        kind = self._dies_by(self.KINDS[:5])
        if kind is not None:
            self._break()
        if kind == "step":
            raise ValueError("the physics exploded")
        ended = super().step(actions, running, out, outcome)
        self.running[ended] = False
        some = int(np.flatnonzero(running)[-1])
        if kind == "late":
            raise SystemExit("somebody closed the window")
        if kind == "obs":
            out[-1].obs[some] = np.nan
        elif kind == "reward":
            outcome[-1].reward[some] = np.inf
        elif kind == "state":
            out[0].state[some] = np.nan
        return ended

    def close(self) -> None:
        self.closed = True
        raise OSError("not even this works")


def guarded_whole(env: FailingWhole) -> GuardedVectorEnv:
    """Guard it as a rollout worker does."""
    return GuardedVectorEnv(env, replace)


def replace(failed, copies, fault):
    """A `Rebuild` without a budget."""
    with contextlib.suppress(OSError):
        failed.close()
    return failed.successor(), [0] * len(copies)


class Moves:
    """What turn-based environments tell of themselves, kept over replacements.

    `history[e][episode]` lists (agent, clock) of every move; `broken[e, episode]` is, of an episode that broke off, the
    agents whose latest moves came to an end: they were shown what followed, or were told that their life is over.
    """

    def __init__(self) -> None:
        self.broken: dict[tuple[int, int], set[int]] = {}
        self.happened: list[str] = []


class FailingTurns(ScriptedTurnEnv):
    """A turn-based env, half of whose episodes break off, at any clock and in all the ways there are."""

    KINDS = ("act", "late", "turn", "observe", "obs", "state", "reward", "reset")

    def __init__(self, *args, moves: Moves, kinds=KINDS, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.told, self.kinds = moves, kinds
        self.shown: dict[int, int] = {}
        self.passed: set[int] = set()

    def successor(self) -> FailingTurns:
        new = FailingTurns(self.spec, self.env, self.seed, self.quiet_agent, moves=self.told, kinds=self.kinds)
        new.episode, new.history = self.episode, self.history
        return new

    def _fails(self, *kinds: str) -> str | None:
        if self.kind not in kinds or self.clock != self.fatal:
            return None
        self.told.happened.append(self.kind)
        closed = {agent for agent, clock in self.shown.items() if clock == self.clock} | self.passed
        self.told.broken[self.env, self.episode] = closed
        return self.kind

    def reset(self, seed=None) -> None:
        super().reset(seed)
        self.shown, self.passed = {}, set()
        rng = dice(self.seed, self.env, self.episode)
        self.kind = self.kinds[rng.integers(len(self.kinds))] if rng.random() < 0.5 else None
        self.fatal = 0 if self.kind == "reset" else int(rng.integers(0, len(self.moves) + 1))
        if self._fails("reset"):
            raise OSError("the board is gone")

    def turn(self):
        turn = super().turn()
        if turn is None:
            return None
        if self._fails("turn"):
            raise KeyError("nobody")
        return turn._replace(reward=np.nan) if self._fails("reward") else turn

    def observe(self, obs, action_mask, state) -> None:
        if self._fails("observe"):
            raise ValueError("blind")
        super().observe(obs, action_mask, state)
        if self._fails("obs"):
            obs[1] = np.inf
        elif state is not None and self._fails("state"):
            state[0] = np.nan
        else:
            self.shown[int(self.seen()[3])] = self.clock

    def act(self, action) -> None:
        over = self.clock >= len(self.moves)
        if over:
            self.passed.add(self.passing[0])  # told already
            if self._fails("act", "late"):
                raise SystemExit
        elif self.kind in ("act", "late") and self.clock == self.fatal:
            agent = self.moves[self.clock]
            if self.kind == "late":
                super().act(action)
            else:
                self.history[-1].append((agent, self.clock))
            self.shown.pop(agent, None)
            self.clock = self.fatal
            self._fails("act", "late")
            raise ZeroDivisionError("by chance")
        super().act(action)


def guarded_turns(env: FailingTurns) -> GuardedTurnEnv:
    """Guard it as a rollout worker does."""
    return GuardedTurnEnv(env, env.env, replace)


class FailingGames(ScriptedGames):
    """A native game that fails as a whole every few calls, in all the ways there are."""

    KINDS = ("act", "reward", "observe", "obs", "reset")

    def __init__(self, *args, moves: Moves, rate: float = 0.012, also_over: bool = False, **kwargs) -> None:
        """With `also_over` it also fails when asked for final observations: nobody can tell what is known then."""
        super().__init__(*args, **kwargs)
        self.told, self.calls, self.rate, self.also_over = moves, 0, rate, also_over
        self.shown: list[dict[int, int]] = [{} for _ in self.envs]
        self.running = np.zeros(self.num_envs, bool)

    def successor(self) -> FailingGames:
        new = FailingGames(self.spec, self.envs, self.seed, self.quiet_seat, moves=self.told)
        new.rate, new.also_over = self.rate, self.also_over
        new.episode, new.history, new.calls = self.episode, self.history, self.calls
        return new

    def _fails(self, *kinds: str) -> str | None:
        self.calls += 1
        if dice(self.seed, self.calls).random() > self.rate:
            return None
        self.told.happened.append(min(kinds, key=self.told.happened.count))
        return self.told.happened[-1]

    def _break(self) -> None:
        for e in np.flatnonzero(self.running).tolist():
            closed = {seat for seat, clock in self.shown[e].items() if clock == self.clock[e]}
            self.told.broken[self.envs[e], int(self.episode[e])] = closed

    def reset(self, envs) -> None:
        if self._fails("reset"):
            self._break()
            raise OSError("the board is gone")
        super().reset(envs)
        for e in envs.tolist():
            self.shown[e] = {}
        self.running[envs] = True

    def observe(self, seat, envs, obs, action_mask, state) -> None:
        kind = self._fails("observe", "obs") if self.also_over or self.running[envs].all() else None
        if kind is not None:
            self._break()
        if kind == "observe":
            raise ValueError("blind")
        super().observe(seat, envs, obs, action_mask, state)
        if kind is not None:
            obs[-1, 0] = np.nan
        for e in envs.tolist():
            self.shown[e][seat] = int(self.clock[e])

    def act(self, envs, actions):
        kind = self._fails("act", "reward")
        if kind == "act":
            for e in envs.tolist():
                mover = self.order[e][self.clock[e]]
                self.history[e][-1].append((mover, int(self.clock[e])))
                del self.shown[e][mover]
            self._break()
            raise ZeroDivisionError("by chance")
        outcome = super().act(envs, actions)
        if kind == "reward":
            self._break()
            outcome.reward[-1, -1] = np.inf
        self.running[envs[outcome.terminated | outcome.truncated]] = False
        return outcome


def guarded_games(env: FailingGames) -> GuardedTurnVectorEnv:
    """Guard them as a rollout worker does."""
    return GuardedTurnVectorEnv(env, replace)
