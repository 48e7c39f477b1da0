"""Random play in words: episodes, returns, deaths and births, speed."""

from __future__ import annotations

from typing import Any

import numpy as np

from sfmarl.envs.checks.play import Play
from sfmarl.envs.checks.report import CheckReport
from sfmarl.specs import EnvSpec, TeamSpec
from sfmarl.statistics import mean_interval

TRAINER_SECONDS = 5e-6
"""CPU seconds of everything but the environment per agent-step: rollout, inference and one epoch of appo with a small
network (benchmarks/results/throughput.md: `dict`, 1.77 cores at 341,730 agent-steps/s)."""

LISTED_AGENTS = 8
"""Agents of a team whose returns are written out."""

LONG_EPISODE = 100_000
"""Env-steps of an episode at which evaluations give up."""


def report_play(report: CheckReport, spec: EnvSpec, play: Play) -> None:
    """Add what `play` showed."""
    report.problems += [
        f"{what} are not finite: nothing can be learned from them, and the trainer skips updates that hold them"
        for what in sorted(play.nonfinite)
    ]
    if play.lengths and not play.nonfinite:
        _report_episodes(report, spec, play)
    if not play.lengths:
        report.warnings.append(
            f"no episode ended in {play.longest_open} steps; returns are unknown. The trainer learns from parts of "
            f"episodes, but reports returns only of finished ones, and evaluations give up after {LONG_EPISODE:,} "
            "steps: let the environment truncate its episodes if it never ends by itself, or use --seconds to look "
            "longer"
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
    _report_speed(report, play)


def _report_episodes(report: CheckReport, spec: EnvSpec, play: Play) -> None:
    lengths = np.array(play.lengths)
    report.facts.append(
        f"episodes: {len(lengths)} played, length {lengths.mean():.1f} ({lengths.min()} to {lengths.max()})"
    )
    teams = {}
    for team, episodes in zip(spec.teams, play.returns, strict=True):
        returns = np.array(episodes)
        total = returns.sum(axis=1)
        report.facts.append(
            f"random policy, team {team.name!r}: return {mean_interval(total)} (sum over the team's agents, mean of "
            f"{len(total)} episodes, 95 % interval), standard deviation {total.std():.3g}"
        )
        if len(team.agents) > 1:
            report.facts.append(f"random policy, team {team.name!r}: {_per_agent(team, returns)}")
        by_agent = {str(agent): _moments(own) for agent, own in zip(team.agents, returns.T, strict=True)}
        teams[team.name] = {"return": _moments(total), "agents": by_agent}
    report.data["random_policy"] = {"episodes": len(lengths), "length": _moments(lengths), "teams": teams}


def _per_agent(team: TeamSpec, returns: np.ndarray) -> str:
    """Put returns [episodes, agents] into words."""
    if (np.ptp(returns, axis=1) == 0).all():
        return f"every agent earns the same, {returns[:, 0].mean():.4g} an episode"
    means, spreads = returns.mean(axis=0), returns.std(axis=0)
    listed = list(zip(team.agents, means, spreads, strict=True))[:LISTED_AGENTS]
    each = ", ".join(f"{agent} {mean:.4g} (sd {spread:.3g})" for agent, mean, spread in listed)
    more = f", ... ({means.min():.4g} to {means.max():.4g})" if len(team.agents) > LISTED_AGENTS else ""
    return f"mean return by agent {each}{more}"


def _moments(values: np.ndarray) -> dict[str, Any]:
    """Return mean, half width of its 95 % interval, standard deviation and range of values [n]."""
    spread = {"sd": float(values.std()), "min": float(values.min()), "max": float(values.max())}
    return mean_interval(values).to_json() | spread


def _report_speed(report: CheckReport, play: Play) -> None:
    if not play.agent_steps:
        return
    env_rate, agent_rate = play.steps / play.seconds, play.agent_steps / play.seconds
    per_step = play.seconds / play.agent_steps
    share = per_step / (per_step + TRAINER_SECONDS)
    advice = (
        "so cores for rollout workers are what makes a run faster" if share > 0.5 else "so learning is what it costs"
    )
    report.facts.append(
        f"speed: {env_rate:,.0f} env-steps/s, {agent_rate:,.0f} agent-steps/s on one core. Everything else takes the "
        f"trainer about {1e6 * TRAINER_SECONDS:.0f} us of CPU per agent-step with a small network: the environment "
        f"would be {share:.0%} of a run's CPU time, {advice}"
    )
    report.data["speed"] = {
        "env_steps_per_second": env_rate,
        "agent_steps_per_second": agent_rate,
        "environment_share": share,
    }
