"""Local inference: rollout workers compute their actions themselves, and every promise of a run holds as before."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from small import children, config, wait_for

from sfmarl.envs.registry import load_spec
from sfmarl.memory.plane import DataPlane
from sfmarl.run.build_rollout import build_acting_rollout
from sfmarl.run.plan import make_plan
from sfmarl.run.runner import train
from sfmarl.storage.checkpoint import latest


def local(run_dir, **settings):
    return config(run_dir, inference="local", **settings)


class Setting:
    """The plan and the data plane of a run of two rollout workers; its weights are published, nobody else is there."""

    def __init__(self, tmp_path, **settings) -> None:
        run = local(tmp_path / "run", **settings)
        self.plan = make_plan(run, load_spec(run))
        self.plane = DataPlane.create(self.plan.plane)
        self.words = self.plane.words()
        for policy, size in enumerate(self.plan.plane.weight_sizes):
            self.plane.weights(policy).publish(np.zeros(size, np.float32), 1)

    def worker(self, index=0):
        return build_acting_rollout(self.plan, self.plane, index, lambda *said: None)


def test_a_worker_fills_its_slots_alone(tmp_path):
    setting = Setting(tmp_path)
    worker = setting.worker()
    for _ in range(1 + setting.plan.config.rollout):
        worker.run_once(timeout=0)
    filled, others = setting.plane.blocks(worker=0), setting.plane.blocks(worker=1)
    assert all((block.policy_version[0] == 1).all() for block in filled)
    np.testing.assert_allclose(np.concatenate([block.log_prob[0] for block in filled]), -np.log(3), rtol=1e-6)
    assert not any((block.policy_version == 1).any() for block in others)
    assert setting.words.counts["rollout"][0, 0] == setting.plan.config.rollout * 4
    assert setting.words.counts["inference"][:, 1].tolist() == [setting.words.requested[0].sum() * 2 * 2, 0]
    worker.close()


def test_it_waits_for_the_first_weights_and_takes_newer_ones(tmp_path):
    setting = Setting(tmp_path)
    setting.plane = DataPlane.create(setting.plan.plane)
    setting.words, store = setting.plane.words(), setting.plane.weights(0)
    worker = setting.worker()
    for _ in range(3):
        worker.run_once(timeout=0)
    assert setting.words.requested[0].tolist() == [1, 1] and not setting.words.answered.any()
    for version in (1, 2):
        store.publish(np.zeros(store.buffer.shape[1], np.float32), version)
        worker.run_once(timeout=0)
    (block, _) = setting.plane.blocks(worker=0)
    assert block.policy_version[0, :2, 0].tolist() == [1, 2]
    worker.close()


def test_workers_draw_streams_of_their_own(tmp_path):
    """They follow the seed, the worker, and how far its past life had come."""

    def actions(index=0, **settings):
        setting = Setting(tmp_path, **settings)
        return first_actions(setting, index)

    def first_actions(setting, index=0, ring=0):
        worker = setting.worker(index)
        for _ in range(9):
            worker.run_once(timeout=0)
        worker.close()
        return np.concatenate([block.action[ring].ravel() for block in setting.plane.blocks(worker=index)])

    first = actions()
    np.testing.assert_array_equal(first, actions())
    assert (first != actions(index=1)).any()
    assert (first != actions(seed=2)).any()
    setting = Setting(tmp_path)
    first_actions(setting)
    setting.words.generation[0] += 1
    assert (first != first_actions(setting, ring=1)).any()


def test_a_new_life_takes_note_of_itself_and_ignores_the_old_ones_request(tmp_path):
    setting = Setting(tmp_path)
    setting.worker().run_once(timeout=0)
    # killed while a request was open
    setting.words.requested[0, 0] += 1
    answered = setting.words.answered[0].tolist()
    setting.words.generation[0] = 1
    worker = setting.worker()
    assert setting.words.acknowledged[0] == 1
    assert setting.words.answered[0].tolist() == setting.words.requested[0].tolist() == answered
    for _ in range(4):
        worker.run_once(timeout=0)
    assert setting.words.counts["rollout"][0, 0] > 0
    worker.close()


def test_async_run(tmp_path):
    seen: list[str] = []
    run_dir = tmp_path / "run"

    def look():
        wait_for(lambda: children("rollout"))
        wait_for(lambda: (run_dir / "metrics.jsonl").exists())
        seen.extend(process.name() for process in children(""))

    watcher = threading.Thread(target=look)
    watcher.start()
    result = train(local(run_dir, env="tests.runs.small:Slow", env_steps=6000))
    watcher.join()
    assert sorted(seen) == ["sf-evaluator-0", "sf-learner-0", "sf-rollout-0", "sf-rollout-1"]
    assert result.summary["stopped_by"] == "finished"
    assert result.summary["agent_steps"] == 2 * result.summary["env_steps"]
    record = next(r for r in reversed(result.metrics()) if "inference/batch_rows" in r)
    assert record["inference/batch_rows"] == 4 * 2, "both splits of a worker are answered together"
    assert record["time/inference/forward"] > 0 and record["time/inference/wait"] == 0
    assert latest(run_dir).read_policy("agent").policy_version > 1
    assert not children("")


@pytest.mark.parametrize("splits", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_sync_has_no_lag_and_ratio_one(splits, tmp_path):
    records = train(local(tmp_path / "run", mode="sync", env_steps=3000, num_splits=splits)).metrics()
    assert {r["policy_lag/max"] for r in records if "policy_lag/max" in r} == {0.0}
    ratios = [r["learner/agent/ratio_max_first"] for r in records if "learner/agent/ratio_max_first" in r]
    assert ratios and max(ratios) < 1e-5


@pytest.mark.slow
def test_memory_masks_deaths_and_several_policies(tmp_path):
    """The environment itself asserts that no illegal action and no action of a dead agent ever reaches it."""
    hp = replace(config(tmp_path).hp, actor_rnn="gru", critic_rnn="lstm")
    records = train(
        local(tmp_path / "run", env="tests.runs.small:Perilous", mode="sync", env_steps=2000, hp=hp)
    ).metrics()
    ratios = [x for r in records for name, x in r.items() if name.endswith("/ratio_max_first")]
    assert ratios and max(ratios) < 1e-4, "what the actor remembered is not what the learner unrolled"


@pytest.mark.slow
def test_turns_against_a_frozen_policy_and_a_script(tmp_path):
    first = train(local(tmp_path / "first", env="tests.runs.turn_games:Betting", mode="serial", env_steps=300)).run_dir
    for name, other in (("frozen", {"frozen": str(first), "policy": "player_1"}), ("script", {"script": "random"})):
        settings = {"env": "tests.runs.turn_games:Betting", "players": {"player_1": other}}
        result = train(local(tmp_path / name, env_steps=1500, **settings))
        assert result.summary["stopped_by"] == "finished"
        assert latest(result.run_dir).read_policy("player_0").policy_version > 1
        assert 0 < result.summary["agent_steps"] < result.summary["env_steps"]


def test_a_serial_run_is_the_same_wherever_inference_is_placed(tmp_path):
    weights = []
    for placement in ("worker", "local"):
        run = config(tmp_path / placement, mode="serial", env_steps=300, inference=placement)
        weights.append(latest(train(run).run_dir).read_policy("agent").algorithm_state["tensors"])
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


@pytest.mark.slow
def test_a_killed_worker_is_replaced(tmp_path, capsys):
    run_dir, killed = tmp_path / "run", []

    def kill():
        wait_for(lambda: (run_dir / "metrics.jsonl").exists() and (run_dir / "metrics.jsonl").stat().st_size)
        killed.append(children("rollout")[0])
        killed[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    result = train(local(run_dir, env="tests.runs.small:Slow", env_steps=8_000))
    killer.join()
    assert killed and result.summary["stopped_by"] == "finished" and result.summary["env_steps"] >= 8_000
    assert "was killed by SIGKILL; replaced" in capsys.readouterr().out
    assert not children("")
