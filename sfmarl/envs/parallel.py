"""PettingZoo ParallelEnvs behind the vector protocol: dicts in, rows of a trajectory slot out.

Three roads through a step. An env in which every agent was alive and lives on (the common case) only has its dicts'
values appended to lists; the whole split is written with a handful of NumPy calls at the end. An env in which some are
dead and the others live on is carried on in the same way, with one index per agent. An env in which somebody dies, is
born or ends the episode is settled agent by agent.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from sfmarl.envs.buffers import SharedBuffers
from sfmarl.envs.collect import Answer, TeamRows
from sfmarl.envs.infos import EpisodeInfos
from sfmarl.envs.leaves import all_finite
from sfmarl.envs.messages import say_sent
from sfmarl.envs.probe import TeamCodec
from sfmarl.envs.rebuild import RAISED, Rebuild
from sfmarl.envs.roster import Roster
from sfmarl.envs.vector import ObsRows, OutcomeRows
from sfmarl.errors import EnvFault, SfmarlError
from sfmarl.seeding import generator_state, numpy_generator, restore_generator
from sfmarl.specs import AgentId, EnvSpec


class ParallelVectorEnv:
    """E copies of a ParallelEnv (see `VectorEnv` for the contract).

    An agent is alive while it is listed in `env.agents`, has an observation and is not flagged. One that disappears
    without a flag, or is truncated without a final observation to bootstrap from, counts as terminated; one that is
    flagged both ways counts as terminated. Whoever appears again later starts a new life (`is_first`). An agent that is
    still listed in `env.agents` though dead is given the action zero, which PettingZoo's step() may ask for.
    """

    def __init__(
        self,
        envs: Sequence[Any],
        seeds: Sequence[int],
        spec: EnvSpec,
        codecs: Sequence[TeamCodec],
        infos: EpisodeInfos | None = None,
        rebuild: Rebuild | None = None,
    ) -> None:
        """`seeds[e]` goes to the first reset of `envs[e]`; later resets continue the env's own random stream.

        `infos` is shown the infos of every step; without it nobody looks at them but for action masks. `rebuild` is
        asked for the successor of an env that fails; without it the fault is raised.
        """
        self.spec = spec
        self.infos = infos
        """See `Informative`."""
        self.num_envs = len(envs)
        self.failed: list[int] = []
        """See `Rebuilt`."""
        self._rebuild = rebuild
        self._envs = list(envs)
        self._seeds = list(seeds)
        self._codecs = tuple(codecs)
        self._teams = tuple(team.agents for team in spec.teams)
        self._agents: tuple[AgentId, ...] = tuple(agent for team in self._teams for agent in team)
        self._known = frozenset(self._agents)
        last = np.cumsum([len(team) for team in self._teams]).tolist()
        self._columns = tuple(slice(end - len(team), end) for team, end in zip(self._teams, last, strict=True))
        self._mask_in_info = any(codec.mask_in_info for codec in codecs)
        self._rests = [rest for c, t in zip(codecs, self._teams, strict=True) for rest in [c.rest()] * len(t)]

        self._everyone = Roster(self._agents, [True] * len(self._agents), self._columns)
        self._nobody = Roster(self._agents, [False] * len(self._agents), self._columns)
        self._rosters = [self._nobody] * self.num_envs
        self._steps = np.zeros(self.num_envs, np.int64)
        self._episodes = [0] * self.num_envs
        self._restored: list[dict[str, Any] | None] = [None] * self.num_envs
        self._buffers = SharedBuffers(self.num_envs)

    def reset(self, envs: Sequence[int], out: Sequence[ObsRows]) -> None:
        """See `VectorEnv.reset`. Raises EnvFault when an env fails, or does not keep to its spaces, for good."""
        due = list(envs)
        while due:
            self.failed = []
            rows = self._collectors(out, None)
            for e in due:
                try:
                    self._begin(e, rows)
                except EnvFault as fault:
                    self._fail(e, fault, rows)
            self._flush(rows)
            self._write_states([e for e in due if e not in self.failed], out, rows)
            due = self.failed  # whoever was rebuilt begins again
        self.failed = []

    def _begin(self, e: int, rows: Sequence[TeamRows]) -> None:
        """Reset one env. Raises EnvFault."""
        self._steps[e] = 0
        self._episodes[e] += 1
        try:
            observations, infos = self._reset_first(e) if self._episodes[e] == 1 else self._envs[e].reset()
        except RAISED as error:
            raise self._failure(e, "reset()", error) from error
        try:
            if self._episodes[e] == 1:
                self._buffers.look(e, observations)
            self._rosters[e] = self._nobody
            anybody = self._settle(e, Answer(observations, {}, {}, {}, infos), rows)
        except SfmarlError:
            raise
        except Exception as error:
            raise self._failure(e, "reading what reset() returned", error) from error
        if not anybody:
            raise EnvFault(f"{self._where(e)}: reset() started an episode without any agent", e)

    def step(
        self,
        actions: Sequence[np.ndarray],
        running: np.ndarray,
        out: Sequence[ObsRows],
        outcome: Sequence[OutcomeRows],
    ) -> np.ndarray:
        """See `VectorEnv.step`. Raises EnvFault when an env fails, or does not keep to its spaces, for good."""
        self.failed = []
        envs, rosters, everyone, mask_in_info = self._envs, self._rosters, self._everyone, self._mask_in_info
        moves = [codec.action.decode(stored) for codec, stored in zip(self._codecs, actions, strict=True)]
        joint = moves[0] if len(moves) == 1 else [list(chain(*rows)) for rows in zip(*moves, strict=True)]
        stepped = range(self.num_envs) if running.all() else np.flatnonzero(running).tolist()
        self._steps[running] += 1
        ended = np.zeros(self.num_envs, bool)
        rows = self._collectors(out, outcome)
        quiet: list[int] = []
        seen: list[Any] = []
        paid: list[float] = []
        told: list[Any] = []
        collected = self.infos if self.infos is not None and self.infos.every_step else None
        buffers = self._buffers
        for e in stepped:
            env, roster = envs[e], rosters[e]
            try:
                if roster is everyone:
                    # the lengths are equal by construction, and checking them costs 3 % of the step
                    chosen = dict(zip(roster.agents, joint[e], strict=False))
                elif roster.size == len(env.agents):
                    chosen = dict(zip(roster.agents, roster.choose(joint[e]), strict=True))
                else:
                    chosen = self._moves_of_the_listed(e, joint[e])
                try:
                    observations, rewards, terminations, truncations, infos = env.step(chosen)
                except RAISED as error:
                    raise self._failure(e, "step()", error, say_sent(chosen, self.spec)) from error
                if buffers.found:
                    observations = deepcopy(observations)
                if collected is not None:
                    collected.note(e, infos, partial(self._where, e))
                picked = None
                if (
                    len(observations) == roster.size == len(env.agents)
                    and not any(terminations.values())
                    and not any(truncations.values())
                    and (roster is everyone or roster.members.issuperset(env.agents))
                ):
                    pick = roster.pick
                    try:
                        picked = pick(observations), pick(rewards), pick(infos) if mask_in_info else ()
                    except KeyError:
                        # somebody is missing, so others are there instead
                        picked = None
                if picked is None:
                    answer = Answer(observations, rewards, terminations, truncations, infos)
                    if collected is None and self.infos is not None:
                        self.infos.note(e, infos, partial(self._where, e))
                    ended[e] = not self._settle(e, answer, rows)
                elif roster is everyone:
                    quiet.append(e)
                    seen += picked[0]
                    paid += picked[1]
                    told += picked[2]
                else:
                    for team_rows, (part, columns) in zip(rows, roster.parts, strict=True):
                        team_rows.carry_on(e, columns, *(values[part] for values in picked))
            except EnvFault as fault:
                self._fail(e, fault, rows)
            except SfmarlError:
                raise
            except Exception as error:
                self._fail(e, self._failure(e, "reading what step() returned", error), rows)
        if quiet:
            self._write_quiet(rows, quiet, seen, paid, told)
        if len(quiet) < len(stepped):
            self._flush(rows)
        if out[0].state is not None:
            # nobody bootstraps from the state of an env that is over, and some have none by then
            over = ended & ~np.any([rows.truncated.any(axis=1) for rows in outcome], axis=0)
            self._write_states([e for e in stepped if not over[e] and e not in self.failed], out, rows)
            for team in out:
                team.state[over] = 0
        if self.failed:
            ended[self.failed] = False
        return ended

    def _reset_first(self, e: int) -> tuple[Any, Any]:
        answer = self._envs[e].reset(seed=self._seeds[e])
        generator = numpy_generator(self._envs[e])
        # only now, because seeding may make a new generator
        if generator is not None and restore_generator(generator, self._restored[e]):
            answer = self._envs[e].reset()
        return answer

    def generator_states(self) -> list[dict[str, Any] | None]:
        """See `Resumable`: of envs that keep their generator in `np_random`, as gymnasium and PettingZoo do."""
        generators = map(numpy_generator, self._envs)
        return [None if generator is None else generator_state(generator) for generator in generators]

    def restore_generators(self, states: Sequence[dict[str, Any] | None]) -> None:
        """See `Resumable`."""
        self._restored = list(states)

    def render(self, env: int = 0) -> Any:
        """Return the frame of one env: uint8 [height, width, 3], or None where it draws to a window or not at all."""
        try:
            return self._envs[env].render()
        except Exception as error:
            raise self._failure(env, "render()", error) from error

    def close(self) -> None:
        """Close every env. Raises EnvFault for the first that fails, after all were closed."""
        failures = []
        for e, env in enumerate(self._envs):
            try:
                env.close()
            except RAISED as error:
                failures.append((e, error))
        for e, error in failures:
            raise self._failure(e, "close()", error) from error

    def _collectors(self, out: Sequence[ObsRows], outcome: Sequence[OutcomeRows] | None) -> list[TeamRows]:
        outcomes = outcome if outcome is not None else [None] * len(out)
        return [TeamRows(*parts, self._where) for parts in zip(self._codecs, self._teams, out, outcomes, strict=True)]

    def _moves_of_the_listed(self, e: int, moves: Sequence[Any]) -> dict[AgentId, Any]:
        """Return the actions of the agents alive, and zero for those the env lists although they are dead."""
        listed = set(self._envs[e].agents)
        chosen = {}
        for agent, alive, move, rest in zip(self._agents, self._rosters[e].alive, moves, self._rests, strict=True):
            if alive or agent in listed:
                chosen[agent] = move if alive else rest
        return chosen

    def _settle(self, e: int, answer: Answer, rows: Sequence[TeamRows]) -> bool:
        """Collect one env's answer agent by agent; return whether any agent is alive."""
        listed = set(self._envs[e].agents)
        if strangers := (listed | set(answer.observations)) - self._known:
            raise EnvFault(
                f"{self._where(e)}: agents {sorted(map(str, strangers))} are not in possible_agents "
                f"({', '.join(map(str, self._agents))}); name every agent that can appear there",
                e,
            )
        was_alive, now_alive = self._rosters[e].alive, []
        for team_rows, columns in zip(rows, self._columns, strict=True):
            now_alive += team_rows.settle(e, was_alive[columns], listed, answer)
        if now_alive != was_alive:
            self._rosters[e] = self._everyone if all(now_alive) else Roster(self._agents, now_alive, self._columns)
        return any(now_alive)

    def _fail(self, e: int, fault: EnvFault, rows: Sequence[TeamRows]) -> None:
        """Have an env that failed replaced; nothing of what it said is written. Raises what `Rebuild` does."""
        if self._rebuild is None:
            raise fault
        for team_rows in rows:
            team_rows.drop(e)
        self._envs[e], (self._seeds[e],) = self._rebuild(self._envs[e], [e], fault)
        self._episodes[e] = 0
        self._rosters[e] = self._nobody
        self._restored[e] = None
        self.failed.append(e)

    def _flush(self, rows: Sequence[TeamRows]) -> None:
        """Write what was collected, but for envs whose observations turn out not to keep to their spaces."""
        for team_rows in rows:
            while True:
                try:
                    team_rows.flush()
                    break
                except EnvFault as fault:
                    self._fail(fault.copy, fault, rows)

    def _write_quiet(self, rows: Sequence[TeamRows], quiet: list[int], *answers: list[Any]) -> None:
        """Write the envs in which every agent lived on; each of `answers` holds one entry per env and agent.

        What turns out not to keep to its space is left out of `quiet` and `answers`.
        """
        while quiet:
            try:
                self._try_quiet(rows, quiet, *answers)
                return
            except EnvFault as fault:
                self._fail(fault.copy, fault, rows)
                first = quiet.index(fault.copy) * len(self._agents)
                quiet.remove(fault.copy)
                for values in answers:
                    del values[first : first + len(self._agents)]

    def _try_quiet(self, rows: Sequence[TeamRows], quiet: list[int], *answers: list[Any]) -> None:
        everyone = len(self._agents)
        for team_rows, columns in zip(rows, self._columns, strict=True):
            own = answers
            if len(rows) > 1:
                starts = range(0, len(quiet) * everyone, everyone)
                own = [[x for i in starts for x in told[i : i + everyone][columns]] for told in answers]
            team_rows.write_quiet(quiet, *own)

    def _write_states(self, envs: Sequence[int], out: Sequence[ObsRows], rows: Sequence[TeamRows]) -> None:
        if out[0].state is None:
            return
        for e in envs:
            try:
                state = np.asarray(self._envs[e].state(), np.float32).reshape(self.spec.state_shape)
            except RAISED as error:
                self._fail(e, self._failure(e, "state()", error), rows)
                continue
            for team in out:
                team.state[e] = state
        # all at once: where envs are not running anything may stand
        if not all_finite(out[0].state):
            for e in envs:
                if e not in self.failed and not np.isfinite(out[0].state[e]).all():
                    self._fail(e, EnvFault(f"{self._where(e)}: state() must be finite", e), rows)

    def _where(self, e: int) -> str:
        return f"{self.spec.env}, copy {e} (seed {self._seeds[e]}), episode {self._episodes[e]}, step {self._steps[e]}"

    def _failure(self, e: int, what: str, error: BaseException, more: str = "") -> EnvFault:
        fault = EnvFault(f"{self._where(e)}: {what} raised {type(error).__name__}: {error}{more}", e)
        fault.__cause__ = error
        return fault
