"""Runs PettingZoo's and gymnasium's own tests of an environment.

PettingZoo's `parallel_seed_test` is left out: it stops after one step, and `checks/seeds.py` compares more.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from gymnasium.utils.env_checker import check_env
from pettingzoo.test import api_test, parallel_api_test
from pettingzoo.test.seed_test import check_environment_deterministic

from sfmarl.config import Config
from sfmarl.envs.checks.consequences import consequence
from sfmarl.envs.checks.guarded import Verdict, run_guarded
from sfmarl.envs.checks.report import CheckReport
from sfmarl.envs.probe import Probe
from sfmarl.envs.registry import make_env
from sfmarl.envs.single import SingleAgentEnv

CYCLES = 100
"""Steps of an episode that PettingZoo's tests make at most; in a turn-based environment steps per agent."""

LISTED_REMARKS = 3
"""Remarks of a test that are written out."""

SHARED_SPACES = "Incorrect actions"
"""What PettingZoo's seed_test says when agents share one action space, from which it then draws out of step."""

REMARK_CHARS = 90
"""Their length."""


def run_official(report: CheckReport, config: Config, found: Probe, seconds: float, *, reproducible: bool) -> None:
    """Run the tests that fit the environment for about `seconds`, and add what they found.

    `reproducible` says whether equal seeds gave equal episodes; if not, playing them again is pointless.
    """
    env = make_env(config)
    masked_by_info = any(codec.mask_in_info for codec in found.codecs)
    tell = partial(_tell, report, reproducible=reproducible, masked_by_info=masked_by_info)
    try:
        if isinstance(env, SingleAgentEnv):
            inner = env.env.unwrapped
            test = partial(check_env, inner, skip_render_check=True, skip_close_check=True)
            tell("gymnasium's check_env", run_guarded(test, [inner], seconds))
        elif found.spec.turn_based:
            _seed_actions(env)
            tell("PettingZoo's api_test", run_guarded(partial(api_test, env, num_cycles=CYCLES), [env], seconds / 2))
            if reproducible:
                tell("PettingZoo's seed_test", _play_again(config, seconds / 2))
        else:
            _seed_actions(env)
            test = partial(parallel_api_test, env, num_cycles=CYCLES)
            tell("PettingZoo's parallel_api_test", run_guarded(test, [env], seconds))
    finally:
        env.close()


def _play_again(config: Config, seconds: float) -> Verdict:
    """Have PettingZoo compare two copies of a turn-based environment: it looks at infos, too."""
    pair = [make_env(config), make_env(config)]
    verdict = run_guarded(partial(check_environment_deterministic, *pair, num_cycles=CYCLES), pair, seconds)
    if verdict.says or not verdict.in_time:
        # else the test has closed them
        for env in pair:
            env.close()
    return verdict


def _seed_actions(env: Any) -> None:
    """Have a test draw the same actions whenever it is run."""
    for number, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(number)


def _tell(report: CheckReport, test: str, verdict: Verdict, *, reproducible: bool, masked_by_info: bool) -> None:
    if not verdict.says:
        stopped = "" if verdict.in_time else ", then there was no time left"
        report.facts.append(f"{test}: passed ({verdict.steps} steps{stopped}){_remarks(verdict)}")
        return
    if SHARED_SPACES in verdict.says:
        report.facts.append(f"{test}: cannot tell, because agents or copies share one action space object")
        return
    refuses, meaning = consequence(verdict, reproducible=reproducible, masked_by_info=masked_by_info)
    raised = f" in {verdict.call}" if verdict.call else ""
    sentence = f'{test} fails{raised} after {verdict.steps} steps: "{verdict.says}". Here {meaning}'
    (report.problems if refuses else report.warnings).append(sentence)


def _remarks(verdict: Verdict) -> str:
    if not verdict.remarks:
        return ""
    shown = "; ".join(f'"{remark.split(". ")[0][:REMARK_CHARS]}"' for remark in verdict.remarks[:LISTED_REMARKS])
    more = "; ..." if len(verdict.remarks) > LISTED_REMARKS else ""
    return f". Its remarks change nothing for the trainer: {shown}{more}"
