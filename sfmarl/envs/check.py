"""`sfmarl check-env`: plays an environment with random actions and says what the trainer will make of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.check_turns import play_turns, record_turns
from sfmarl.envs.describe import memory_facts, space_facts
from sfmarl.envs.random_play import Play
from sfmarl.envs.registry import is_native, load_spec, make_env, make_vector_env, probe_env
from sfmarl.envs.rows import new_obs_rows, new_outcome_rows, random_actions
from sfmarl.envs.vector import ObsRows, OutcomeRows
from sfmarl.errors import RunError
from sfmarl.specs import EnvSpec, TeamSpec
from sfmarl.user_code import import_user_code

NUM_ENVS = 4
SEED_STEPS = 50
"""Steps over which two equally seeded copies are compared."""


@dataclass
class CheckReport:
    """What was found: facts, warnings (training works, mind this) and problems (it does not)."""

    env: str
    """The environment's name."""
    facts: list[str] = field(default_factory=list)
    """Sentences."""
    warnings: list[str] = field(default_factory=list)
    """Sentences."""
    problems: list[str] = field(default_factory=list)
    """Sentences."""

    @property
    def ok(self) -> bool:
        """Whether the environment can be trained on."""
        return not self.problems

    def lines(self) -> list[str]:
        """Return the report as lines of text, problems last."""
        verdict = "can be trained on" if self.ok else "cannot be trained on"
        marked = [("", self.facts), ("warning: ", self.warnings), ("problem: ", self.problems)]
        return [f"{self.env} {verdict}", *(f"  {mark}{line}" for mark, lines in marked for line in lines)]


def check_env(config: Config, max_seconds: float = 5.0, max_episodes: int = 100) -> CheckReport:
    """Play the environment of `config` for at most `max_seconds` or `max_episodes` and report.

    An environment that cannot be found or built raises UsageError; every later failure is a problem in the report.
    """
    import_user_code(config.imports)
    report = CheckReport(config.env)
    spec = load_spec(config)
    _describe(report, config, spec)
    try:
        _check_seeding(report, config, spec)
        play = play_turns if spec.turn_based else _play
        _report_play(report, spec, play(config, spec, max_seconds, max_episodes))
    except RunError as error:
        report.problems.append(str(error))
    return report


def half_interval(values: np.ndarray) -> float:
    """Return half the width of the 95 % interval of the mean (normal approximation); nan for fewer than two values."""
    return 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("nan")


def _describe(report: CheckReport, config: Config, spec: EnvSpec) -> None:
    for team in spec.teams:
        report.facts.append(_team_line(team))
        report.facts += space_facts(config, team)
    facts, warnings = memory_facts(config, spec)
    report.facts += facts
    report.warnings += warnings
    if is_native(config.env):
        report.facts.append("native vector environment: it steps all copies at once")
    else:
        probe = probe_env(config)
        report.facts += probe.notes
        if probe.codecs:
            _check_conformance(report, config)
    if spec.turn_based:
        report.facts.append(
            "turn-based: agents act one after the other; what an agent earns between two turns belongs to the earlier "
            "one, what it earns before its first to the episode's return only"
        )
    if spec.state_is_joint:
        report.facts.append("state(): equals the team's observations side by side, so it is rebuilt and never stored")
    elif spec.state_shape is not None:
        report.facts.append(f"state(): {spec.state_shape[0]} numbers, stored once per step for a central critic")
    elif spec.turn_based:
        report.facts.append("there is no state for a central critic, so mappo cannot be trained; ippo and appo can")
    else:
        report.facts.append("a central critic is given the team's observations side by side instead of a state")


def _team_line(team: TeamSpec) -> str:
    agents = ", ".join(map(str, team.agents[:4])) + (", ..." if len(team.agents) > 4 else "")
    act = team.action
    if act.kind == "continuous":
        bounded = np.isfinite(act.low).all() and np.isfinite(act.high).all()
        acts = f"{act.shape[0]} continuous actions, {'clipped to their bounds' if bounded else 'not all bounded'}"
    else:
        acts = f"actions {' x '.join(map(str, act.nvec))} discrete"
    masked = "; illegal actions are masked when acting and when learning" if team.has_mask else ""
    count = "1 agent" if len(team.agents) == 1 else f"{len(team.agents)} agents"
    return (
        f"team {team.name!r}: {count} ({agents}) with one policy; observation {team.obs.shape} stored as "
        f"{team.obs.dtype}; {acts}{masked}"
    )


def _check_conformance(report: CheckReport, config: Config) -> None:
    """Compare raw first observations with their declared spaces."""
    env = make_env(config)
    try:
        if hasattr(env, "agent_iter"):
            env.reset(seed=0)
            observations = {env.agent_selection: env.last()[0]}
        else:
            observations, _ = env.reset(seed=0)
        for agent, raw in observations.items():
            space = env.observation_space(agent)
            dtype, declared = getattr(raw, "dtype", None), space.dtype
            if dtype is not None and declared is not None and dtype != declared:
                report.warnings.append(f"agent {agent!r}: observations are {dtype}, declared {declared}: converted")
            elif not space.contains(raw):
                report.warnings.append(
                    f"agent {agent!r}: the first observation lies outside its declared space; what is out of bounds "
                    "is stored as it is"
                )
    finally:
        env.close()


def _check_seeding(report: CheckReport, config: Config, spec: EnvSpec) -> None:
    """Two copies with one seed and the same actions must play the same episode; another seed may differ."""
    one, again, other = (_recording(config, spec, seed) for seed in (1, 1, 2))
    same = len(one) == len(again) and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, again, strict=True))
    differs = len(one) != len(other) or any(
        not np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True)
    )
    if same:
        report.facts.append(f"seeding: equal seeds and actions give equal episodes ({SEED_STEPS} steps compared)")
    else:
        report.warnings.append("seeding: equal seeds and actions give different episodes, so runs cannot be reproduced")
    if same and not differs:
        report.facts.append("seeding: another seed gives the same episode; the environment is deterministic")


def _recording(config: Config, spec: EnvSpec, seed: int) -> list[np.ndarray]:
    """Return all observations and rewards of `SEED_STEPS` steps of one env with a fixed stream of actions."""
    if spec.turn_based:
        return record_turns(config, spec, seed, SEED_STEPS)
    env = make_vector_env(config, 1, [seed])
    rng = np.random.default_rng(0)
    record: list[np.ndarray] = []
    try:
        rows = new_obs_rows(spec, 1)
        env.reset([0], rows)
        for _ in range(SEED_STEPS):
            record += [np.concatenate([row.obs.ravel(), row.active.ravel()]) for row in rows]
            following, outcome = new_obs_rows(spec, 1), new_outcome_rows(spec, 1)
            ended = env.step(_random(spec, rows, rng), np.ones(1, bool), following, outcome)
            record += [row.reward.copy() for row in outcome]
            rows = following
            if ended[0]:
                env.reset([0], rows)
    finally:
        env.close()
    return record


def _random(spec: EnvSpec, rows: list[ObsRows], rng: np.random.Generator) -> list[np.ndarray]:
    return [random_actions(t.action, r.active.shape, rng, r.action_mask) for t, r in zip(spec.teams, rows, strict=True)]


def _play(config: Config, spec: EnvSpec, max_seconds: float, max_episodes: int) -> Play:
    env = make_vector_env(config, NUM_ENVS, range(NUM_ENVS))
    play = Play.of(spec)
    rng = np.random.default_rng(1)
    running = np.ones(NUM_ENVS, bool)
    totals = [np.zeros((NUM_ENVS, len(team.agents))) for team in spec.teams]
    length = np.zeros(NUM_ENVS, int)
    deadline = time.perf_counter() + max_seconds
    try:
        rows = new_obs_rows(spec, NUM_ENVS)
        env.reset(range(NUM_ENVS), rows)
        while time.perf_counter() < deadline and len(play.lengths) < max_episodes:
            actions = _random(spec, rows, rng)
            following, outcome = new_obs_rows(spec, NUM_ENVS), new_outcome_rows(spec, NUM_ENVS)
            start = time.perf_counter()
            ended = env.step(actions, running, following, outcome)
            play.seconds += time.perf_counter() - start
            play.steps += NUM_ENVS
            length += 1
            for team, total, row, new in zip(spec.teams, totals, outcome, following, strict=True):
                total += row.reward
                _note(play, team, row, new, ended)
            for e in np.flatnonzero(ended).tolist():
                play.lengths.append(int(length[e]))
                length[e] = 0
                for returns, total in zip(play.returns, totals, strict=True):
                    returns.append(total[e].copy())
                    total[e] = 0.0
            rows = following
            if ended.any():
                start = time.perf_counter()
                env.reset(np.flatnonzero(ended).tolist(), rows)
                play.seconds += time.perf_counter() - start
    finally:
        env.close()
    return play


def _note(play: Play, team: TeamSpec, row: OutcomeRows, new: ObsRows, ended: np.ndarray) -> None:
    lasting = ~ended[:, None]
    play.terminated += int(row.terminated.sum())
    play.truncated += int(row.truncated.sum())
    play.deaths += int(((row.terminated | row.truncated) & lasting).sum())
    play.births += int((new.is_first & lasting).sum())
    if not np.isfinite(row.reward).all():
        play.nonfinite.add(f"rewards of team {team.name!r}")
    if np.issubdtype(new.obs.dtype, np.floating) and not np.isfinite(new.obs).all():
        play.nonfinite.add(f"observations of team {team.name!r}")
    if len(team.agents) > 1:
        if (np.ptp(row.reward, axis=1) > 0).any():
            play.unequal.add(team.name)
        if ((row.reward.min(axis=1) < 0) & (row.reward.max(axis=1) > 0) & (abs(row.reward.sum(axis=1)) < 1e-6)).any():
            play.opposed.add(team.name)


def _report_play(report: CheckReport, spec: EnvSpec, play: Play) -> None:
    report.problems += [f"{what} are not finite" for what in sorted(play.nonfinite)]
    if not play.lengths:
        steps = play.steps if spec.turn_based else play.steps // NUM_ENVS
        report.warnings.append(f"no episode ended in {steps} steps; returns are unknown")
    else:
        lengths = np.array(play.lengths)
        report.facts.append(
            f"episodes: {len(lengths)} played, length {lengths.mean():.1f} ({lengths.min()} to {lengths.max()})"
        )
        for team, returns in zip(spec.teams, play.returns, strict=True):
            sums = np.array([agents.sum() for agents in returns])
            report.facts.append(
                f"random policy, team {team.name!r}: return {sums.mean():.2f} +- {half_interval(sums):.2f} "
                f"(sum over the team's agents, mean of {len(sums)} episodes, 95 % interval)"
            )
    report.facts.append(
        f"endings of agents: {play.terminated} terminated (their return ends), {play.truncated} truncated (their "
        "return is bootstrapped from the final observation)"
    )
    report.facts += [
        f"agent {agent!r} had no turn in {episodes} of {len(play.lengths)} episodes"
        for agent, episodes in play.silent.items()
    ]
    if play.deaths or play.births:
        report.facts.append(
            f"agents come and go within episodes: {play.deaths} left, {play.births} joined; the dead are masked "
            "everywhere and never counted (see --death)"
        )
    report.facts += [
        f"team {name!r}: agents earn different rewards; each learns from its own unless --team-reward says otherwise"
        for name in sorted(play.unequal - play.opposed)
    ]
    report.warnings += [
        f"team {name!r}: its agents' rewards cancel out; opponents need policies of their own (--teams each)"
        for name in sorted(play.opposed)
    ]
    report.facts.append(f"speed: {play.steps / play.seconds:,.0f} env-steps/s on one core")
