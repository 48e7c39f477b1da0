"""`sfmarl check-env`: plays an environment with random actions and says what the trainer will make of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from sfmarl.config import Config
from sfmarl.envs.checks.describe import memory_facts, space_facts
from sfmarl.envs.checks.look import look
from sfmarl.envs.checks.official import run_official
from sfmarl.envs.checks.parallel import play_parallel
from sfmarl.envs.checks.play import Play
from sfmarl.envs.checks.report import CheckReport
from sfmarl.envs.checks.returns import report_play
from sfmarl.envs.checks.seeds import check_seeding
from sfmarl.envs.checks.turns import play_turns
from sfmarl.envs.checks.vector_turns import play_vector_turns
from sfmarl.envs.probe import Probe
from sfmarl.envs.registry import is_native, load_spec, probe_env
from sfmarl.errors import RunError
from sfmarl.fit import require_same_spaces, teams_by_policy
from sfmarl.specs import EnvSpec, TeamSpec
from sfmarl.user_code import import_user_code

SECONDS = 10.0
"""Time of all checks together, if nobody says otherwise."""

LOOK_SHARE, SEED_SHARE, PLAY_SHARE, OFFICIAL_SHARE = 0.15, 0.15, 0.4, 0.3
"""How the time is divided; none need use all of its share."""


def check_env(config: Config, max_seconds: float = SECONDS, max_episodes: int = 100) -> CheckReport:
    """Look at the environment of `config`, play up to `max_episodes`, run its package's own tests, and report.

    `max_seconds` bounds the stepping, up to the step in which it runs out; building environments comes on top.
    An environment that cannot be found, built, or understood raises UsageError, as do policies that do not fit its
    teams; every later failure is a problem in the report.
    """
    import_user_code(config.imports)
    report = CheckReport(config.env)
    native = is_native(config.env)
    found = None if native else probe_env(config)
    spec = load_spec(config) if found is None else found.spec
    _describe(report, config, spec, found)
    raw = found is not None and bool(found.codecs)
    if raw:
        look(report, config, found, LOOK_SHARE * max_seconds)
    reproducible = False
    if report.ok:
        try:
            reproducible = check_seeding(report, config, spec, found, SEED_SHARE * max_seconds)
            report_play(report, spec, _play(config, spec, found, PLAY_SHARE * max_seconds, max_episodes))
        except RunError as error:
            report.problems.append(str(error))
    if raw:
        run_official(report, config, found, OFFICIAL_SHARE * max_seconds, reproducible=reproducible)
    return report


def _play(config: Config, spec: EnvSpec, found: Probe | None, max_seconds: float, max_episodes: int) -> Play:
    if spec.turn_based and found is None:
        return play_vector_turns(config, spec, max_seconds, max_episodes)
    play = play_turns if spec.turn_based else play_parallel
    return play(config, spec, found, max_seconds, max_episodes)


def _describe(report: CheckReport, config: Config, spec: EnvSpec, found: Probe | None) -> None:
    """Say how the environment is understood; `found` is None for a native vector environment."""
    policy_of = {}
    for policy, teams in teams_by_policy(config.policies, spec).items():
        require_same_spaces(policy, teams)
        policy_of |= {team.name: policy for team in teams}
    for team in spec.teams:
        report.facts.append(_team_line(team))
        if config.policies:
            report.facts.append(f"team {team.name!r}: played by policy {policy_of[team.name]!r}")
        report.facts += space_facts(config, team)
    report.data["turn_based"] = spec.turn_based
    report.data["teams"] = [_team_json(team, policy_of[team.name]) for team in spec.teams]
    report.add(*memory_facts(config, spec), [])
    if found is None:
        report.facts.append("native vector environment: it steps all copies at once")
    else:
        report.facts += found.notes
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


def _team_json(team: TeamSpec, policy: str) -> dict[str, Any]:
    action = {"kind": team.action.kind, "choices": list(team.action.nvec), "shape": list(team.action.shape)}
    return {
        "name": team.name,
        "agents": list(team.agents),
        "policy": policy,
        "observation": {"shape": list(team.obs.shape), "dtype": str(team.obs.dtype)},
        "action": action,
        "masked": team.has_mask,
    }


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
