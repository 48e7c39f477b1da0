"""The roofline is of exactly the work that is trained, adds up as it says, and every figure reaches the report."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from sfmarl.envs.registry import load_spec
from sfmarl.run.plan import make_plan
from sfmarl.run.runner import check_run

if TYPE_CHECKING:
    from throughput import Result

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
NAMES = [
    "spread",
    "dict",
    "native_dict",
    "native",
    "masks",
    "gru",
    "central",
    "teams",
    "connect_four",
    "native_connect_four",
]


def configured(work: str):
    from throughput import configure

    if work == "connect_four" and find_spec("pygame") is None:
        pytest.skip("without pygame")
    return configure(work, "appo", workers=2, envs_per_worker=8)


@pytest.mark.parametrize("work", NAMES)
def test_every_work_can_be_planned_and_says_where_it_learns(work: str):
    from works import WORKS

    assert list(WORKS) == NAMES
    config = replace(configured(work), num_envs_per_worker=64)
    plan, _ = check_run(config)
    assert all(n <= plan.plane.lanes_of_policy(p) for p, n in enumerate(plan.batch_lanes))
    where = WORKS[work].gate.partition("::")[0].split()
    assert (BENCHMARKS.parent / where[0]).is_file()


@pytest.mark.parametrize("work", NAMES)
def test_bare_work_is_that_of_the_policy(work: str):
    import roofline
    from bare_eager import FORWARD_ROWS

    config = configured(work)
    plan = make_plan(config, load_spec(config))
    shares = {"teams": [1 / 6, 3 / 6, 2 / 6]}.get(work, [1.0])

    env, *nets = roofline.bare_works(config, plan.batch_lanes, core=0)

    envs = config.num_envs_per_worker // config.num_splits
    assert env[0][1]() == (envs if plan.env.turn_based else envs * plan.env.num_agents)
    for parts in nets:
        assert [share for share, _ in parts] == pytest.approx(shares)
    for (_, eager), (_, product) in zip(*nets[:2], strict=True):
        assert eager() == FORWARD_ROWS <= product() < FORWARD_ROWS + 8
    for spec, lanes, (_, eager), (_, product) in zip(plan.policies, plan.batch_lanes, *nets[2:], strict=True):
        assert eager() == product() == lanes * config.rollout * spec.num_agents


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("work", NAMES)
def test_eager_networks_have_the_sizes_of_the_algorithms(work: str):
    """But for what tells agents apart, one row per agent and network that shares its parameters, and a GRU's biases."""
    from bare_eager import EagerNet

    from sfmarl.algorithms import get_algorithm

    config = configured(work)
    plan = make_plan(config, load_spec(config))
    hp = config.hp
    for spec in plan.policies:
        ours = get_algorithm(config.algo).cls(spec, hp, torch.device("cpu"), seed=1)
        own = spec.state_source == "own"
        seen = spec.obs.shape if own else (spec.num_agents * int(np.prod(spec.obs.shape)),)
        actor = EagerNet(spec.obs.shape, spec.action.param_size, hp, hp.actor_rnn)
        critic = EagerNet(seen, 1 if own else spec.num_agents, hp, hp.critic_rnn)
        for eager, product, tells_apart in ((actor, ours.actor, True), (critic, ours.critic, own)):
            ids = spec.num_agents * hp.hidden[0] if tells_apart and spec.num_agents > 1 else 0
            assert parameters(eager) == pytest.approx(parameters(product) - ids, abs=6 * hp.rnn_size)


def test_replayed_turns_are_whole_legal_games():
    import bare_env

    config = configured("connect_four")
    work = bare_env.env_work(config, num_envs=3, seed=0)  # an illegal move would warn and end the game
    assert sum(work() for _ in range(400)) == 3 * 400


def test_pictures_have_an_eager_network():
    from bare_eager import EagerNet, random_obs

    from sfmarl import Config
    from sfmarl.algorithms import get_algorithm

    spec = make_plan(
        c := Config(
            "native/dict", env_kwargs={"image_size": 84}, algo="appo", hp=get_algorithm("appo").hyperparameters()
        ),
        load_spec(c),
    ).policies[0]
    net = EagerNet(spec.obs.shape, 5, c.hp, "none")
    assert net(random_obs(spec, (2, 3)))[0].shape == (2, 3, 5)
    assert parameters(net) == parameters(get_algorithm("appo").cls.build_actor(spec, replace(c.hp, agent_id=False)))


def test_the_roofline_adds_up_times():
    from roofline import Pieces, median

    pieces = Pieces(env=10.0, forward_torch=20.0, forward_product=40.0, learn=20.0, learn_product=40.0)

    assert pieces.eager(4) == pieces.roofline(20.0, 4) == pytest.approx(4 / (0.1 + 0.05 + 0.05))
    assert pieces.product(4) == pytest.approx(4 / (0.1 + 0.025 + 0.025))
    assert median([pieces, replace(pieces, env=30.0), replace(pieces, env=12.0)]) == replace(pieces, env=12.0)


def measured() -> Result:
    from roofline import Pieces
    from throughput import Result

    from sfmarl.monitor.breakdown import CATEGORIES

    scalars = {f"time/{role}/{name}": 0.5 for role, names in CATEGORIES.items() for name in names}
    scalars |= {"system/cpu_percent": 190.0, "inference/batch_rows": 300.0, "policy_lag/mean": 1.5}
    return Result(
        work="gru",
        env="native/simple_spread",
        about="recurrent",
        gate="tests/x.py::test",
        settings={"algo": "appo", "epochs": 1},
        pieces=Pieces(100_001.0, 100_002.0, 100_003.0, 100_004.0, 100_005.0),
        roofline_torch=80_000.0,
        roofline_product=100_000.0,
        agent_steps_per_second=60_000.0,
        turns=[50_000.0, 60_000.0, 90_000.0],
        shares_torch=[0.7, 0.75, 0.9],
        shares_product=[0.5, 0.6, 0.8],
        learned_per_second=59_000.0,
        peak_memory_gib=0.75,
        first_update_seconds=4.25,
        scalars=scalars,
        busy_before=3.0,
        command="python benchmarks/throughput.py --env gru",
    )


DESCRIBED = {"cores": 2, "cpu": "a CPU", "python": "3", "torch": "2", "numpy": "2"}


def test_the_report_holds_every_figure():
    import throughput_report

    result = measured()
    page = throughput_report.page({"machine": DESCRIBED}, [result, replace(result, command="another")], [])

    assert "| gru | 60,000 | 80,000 | 75% | 100,000 | 60% | 59,000 | 190 % | 0.75 GiB | 4.2 s | 300 | 1.5 |" in page
    assert "| gru | 100,001 | 100,002 | 100,003 | 100,004 | 100,005 |" in page
    assert "recurrent (algo appo, epochs 1). Learns in `tests/x.py::test`" in page
    assert "Printed by `python benchmarks/throughput.py --env gru`, `another`." in page


def test_works_are_measured_one_by_one_and_kept(tmp_path, monkeypatch):
    """What one sitting does not measure stays as it was; nothing stays of another machine."""
    import budgets
    import machine
    import throughput

    monkeypatch.setattr(budgets, "measure", lambda *args, **kwargs: [])
    monkeypatch.setattr(machine, "describe", lambda: described)
    described = DESCRIBED
    for work in ("gru", "dict"):
        monkeypatch.setattr(throughput, "measure", lambda *args, work=work: replace(measured(), work=work))
        monkeypatch.setattr(sys, "argv", ["throughput.py", "--env", work, "--results", str(tmp_path)])
        throughput.main()
    kept = throughput.read(tmp_path / "throughput.json", DESCRIBED)
    assert kept == {work: replace(measured(), work=work) for work in ("gru", "dict")}
    assert "| gru | 60,000 |" in (tmp_path / "throughput.md").read_text()
    described = DESCRIBED | {"cores": 4}
    throughput.main()
    assert throughput.read(tmp_path / "throughput.json", described).keys() == {"dict"}


def test_the_peak_is_seen():
    from peak_memory import PeakMemory, peak_memory

    with peak_memory(seconds=0.05) as peak:
        block = np.ones(2**27, np.uint8)
        peak.look()
    high = peak.gib
    del block
    later = PeakMemory()
    later.look()
    assert high > later.gib + 0.1
