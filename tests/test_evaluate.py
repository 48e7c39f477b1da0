from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from saved_runs import MIXED, SPREAD, save_run

from sfmarl.config import Config
from sfmarl.envs.registry import load_spec, make_env
from sfmarl.envs.script import ScriptedPlayer
from sfmarl.errors import RunError, UsageError
from sfmarl.evaluation.evaluate import evaluate, evaluate_checkpoint, evaluate_run
from sfmarl.evaluation.evaluator import MAX_ENVS, Evaluator, Stopped
from sfmarl.evaluation.policy import load_policy
from sfmarl.monitor.metrics import describe
from sfmarl.seeding import seed_for
from sfmarl.statistics import mean_interval
from sfmarl.storage import checkpoint as checkpoints

torch.set_num_threads(1)


def random_players(config: Config, seed: int = 0) -> dict[str, ScriptedPlayer]:
    return {team.name: ScriptedPlayer("random", team, seed) for team in load_spec(config).teams}


@pytest.mark.parametrize("episodes", [1, 5, 16, 23, 48])
def test_every_env_plays_the_same_number_of_episodes(episodes):
    """Env e always plays episodes of one length L(e), so the expected mean over equal shares is known exactly; counting
    the first episodes that end would favour the short ones."""
    config = Config(env="toy_envs:RandomLength", env_kwargs={"per_env": True})
    count = min(episodes, MAX_ENVS)
    lengths = [int(np.random.default_rng(seed_for(3, "evaluate", e)).integers(1, 31)) for e in range(count)]
    shares = [episodes // count + (e < episodes % count) for e in range(count)]
    played = np.repeat(lengths, shares)
    found = evaluate(config, random_players(config), episodes, seed=3)
    assert found.episodes == episodes == len(played)
    assert found.length.to_json() == mean_interval(played).to_json()
    assert found.teams["a"].mean == pytest.approx(3 * played.mean())
    assert [found.agents[agent].mean for agent in ("a_0", "a_1")] == pytest.approx([played.mean(), 2 * played.mean()])


def test_lengths_drawn_per_episode_have_the_right_mean():
    config = Config(env="toy_envs:RandomLength")
    found = evaluate(config, random_players(config), 2000, seed=0)
    assert abs(found.length.mean - 15.5) < 2 * found.length.half_width
    assert found.length.half_width == pytest.approx(1.96 * math.sqrt((30**2 - 1) / 12 / 2000), rel=0.1)


def test_returns_equal_a_plain_loop(tmp_path):
    """Greedy play in MPE2, episode by episode, with PettingZoo's own API."""
    save_run(tmp_path, SPREAD)
    policy = load_policy(tmp_path)
    returns = []
    for e in range(5):
        env = make_env(SPREAD)
        seen, _ = env.reset(seed=seed_for(9, "evaluate", e))
        total = np.zeros(3)
        while env.agents:
            seen, rewards, *_ = env.step(policy.act(seen))
            total += [rewards[agent] for agent in policy.agents]
        returns.append(total)
    found = evaluate_run(tmp_path, episodes=5, seed=9)
    expected = np.array(returns)
    assert found.teams["agent"].mean == pytest.approx(expected.sum(axis=1).mean(), rel=1e-5)
    assert found.teams["agent"].half_width == pytest.approx(mean_interval(expected.sum(axis=1)).half_width, rel=1e-4)
    assert [x.mean for x in found.agents.values()] == pytest.approx(expected.mean(axis=0), rel=1e-5)
    assert (found.score, found.checkpoint) == (found.teams["agent"].mean, "step-000000000100")
    same = evaluate_checkpoint(SPREAD, tmp_path / "checkpoints/step-000000000100", 5, 9)
    assert same.to_json() == found.to_json()


@pytest.mark.parametrize("random_baseline", [False, True], ids=["players", "baseline"])
def test_an_evaluation_stops_at_the_next_step_and_closes_its_envs(monkeypatch, random_baseline):
    """With `baseline`, `stop` turns true only once the players are through and the random episodes are being played."""
    closed, asked = [], []
    close = Evaluator.close
    monkeypatch.setattr(Evaluator, "close", lambda self: (closed.append(self), close(self)))
    config = Config(env="toy_envs:RandomLength")
    whole = evaluate(config, random_players(config), 16, 0, stop=lambda: asked.append(0) or False)
    assert len(asked) > 5
    assert whole.episodes == 16
    assert len(closed) == 1
    copies = whole.episodes  # each of them is asked for when it is built
    after = copies + (len(asked) + 2 if random_baseline else 3)
    asked.clear()
    closed.clear()

    def stop() -> bool:
        asked.append(0)
        return len(asked) > after

    with pytest.raises(Stopped):
        evaluate(config, random_players(config), 16, 0, random_baseline=random_baseline, stop=stop)
    assert len(asked) == after + 1
    assert len(set(map(id, closed))) == (2 if random_baseline else 1)


def test_the_evaluation_of_a_checkpoint_can_be_stopped(tmp_path):
    save_run(tmp_path, SPREAD)
    path = tmp_path / "checkpoints/step-000000000100"
    with pytest.raises(Stopped):
        evaluate_checkpoint(SPREAD, path, 1, 0, stop=lambda: True)


def test_random_baseline_masks_and_scalars(tmp_path):
    """The env asserts that actions are legal; every step costs 1, so a return is minus a length."""
    save_run(tmp_path, MIXED)
    for greedy in (True, False):
        found = evaluate_run(tmp_path, episodes=20, greedy=greedy, random_baseline=True)
        for evaluation in (found, found.baseline):
            assert evaluation.teams["m"].mean == pytest.approx(-2 * evaluation.length.mean)
            assert evaluation.agents["t_0"].mean == pytest.approx(-evaluation.length.mean)
        assert (found.baseline.greedy, found.baseline.baseline, found.baseline.episodes) == (False, None, 20)
    scalars = found.scalars()
    assert scalars["eval/episodes"] == 20
    assert all(describe(name) for name in scalars)


def test_same_seed_same_result_other_seed_another():
    results = [evaluate(SPREAD, random_players(SPREAD), 4, seed=seed).to_json()["teams"] for seed in (1, 1, 2)]
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_json_and_text_say_what_was_measured(tmp_path):
    save_run(tmp_path, SPREAD)
    found = evaluate_run(tmp_path, episodes=2, random_baseline=True)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["metric"] == "undiscounted episode return, sum over team `agent`"
    assert data["env"] == "mpe2.simple_spread_v3"
    assert data["env_version"].startswith("mpe2 1.")
    assert data["teams"]["agent"]["mean"] == found.score
    assert list(data["agents"]) == ["agent_0", "agent_1", "agent_2"]
    assert data["baseline"]["teams"]["agent"]["count"] == 2
    text = str(found)
    for part in (
        data["metric"],
        data["env_version"],
        "2 episodes, greedy",
        "agent_2",
        "random",
        "95 %",
        found.checkpoint,
    ):
        assert part in text


def test_one_episode_has_no_interval():
    data = evaluate(SPREAD, random_players(SPREAD), 1, seed=0).to_json()
    assert data["teams"]["agent"]["half_width"] is None
    json.dumps(data, allow_nan=False)


def test_native_environments_too():
    config = Config(env="native/simple_spread")
    found = evaluate(config, random_players(config), 20, seed=0)
    assert -110 < found.score < -50
    assert found.env_version.startswith("sfmarl ")


def test_an_animation(tmp_path):
    config = Config(env="toy_envs:RandomLength", env_kwargs={"longest": 12}, algo="ippo")
    save_run(tmp_path / "run", config)
    found = evaluate_run(tmp_path / "run", episodes=1, seed=4, gif=tmp_path / "episode.gif")
    with Image.open(tmp_path / "episode.gif") as image:
        assert image.size == (30, 20)
        assert image.n_frames == found.length.mean + 1, "how it begins, and what every step led to"
        image.seek(image.n_frames - 1)
        bright = np.asarray(image.convert("L"))[0] > 128
        assert np.flatnonzero(bright).tolist() == [image.n_frames - 1]


def test_an_animation_of_a_native_environment(tmp_path):
    save_run(tmp_path / "run", Config(env="native/rock_paper_scissors", env_kwargs={"length": 4}, algo="ippo"))
    evaluate_run(tmp_path / "run", episodes=1, seed=4, greedy=False, gif=tmp_path / "episode.gif")
    with Image.open(tmp_path / "episode.gif") as image:
        assert image.n_frames == 5 and image.size == (240, 288)


def test_environments_that_cannot_render_are_told_so(tmp_path):
    for name, env in (("a", "toy_envs:Endless"), ("b", "native/simple_spread"), ("c", "toy_envs:Blind")):
        save_run(tmp_path / name, Config(env=env, algo="ippo"))
        with pytest.raises(UsageError, match="render"):
            evaluate_run(tmp_path / name, episodes=1, gif=tmp_path / "x.gif")
    assert not (tmp_path / "x.gif").exists()
    config = Config(env="toy_envs:RandomLength", algo="ippo")
    save_run(tmp_path / "d", config)
    with pytest.raises(UsageError, match="cannot be written"):
        evaluate_run(tmp_path / "d", episodes=1, gif=tmp_path / "nowhere/x.gif")


def test_an_endless_episode_is_an_error():
    config = Config(env="toy_envs:Endless")
    evaluator = Evaluator(config, random_players(config), 2, seed=0, max_episode_steps=50)
    for _ in range(50):
        assert evaluator.run_once()
    with pytest.raises(RunError, match="did not end within 50 steps"):
        evaluator.run_once()
    evaluator.close()


def test_wrong_requests_are_explained(tmp_path):
    save_run(tmp_path, SPREAD)
    with pytest.raises(UsageError, match="at least one"):
        evaluate_run(tmp_path, episodes=0)
    with pytest.raises(UsageError, match="not a run directory"):
        evaluate_run(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="Nobody plays agent"):
        evaluate(SPREAD, {}, 1, 0)
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text().replace('"N": 3', '"N": 2'))
    with pytest.raises(UsageError, match=r"Team 'agent': observation: .*12.*trained with .*18.*agents: 2"):
        evaluate_run(tmp_path, episodes=1)


def test_a_damaged_checkpoint_is_reported_and_the_one_before_evaluated(tmp_path, capsys):
    save_run(tmp_path, SPREAD, env_steps=1)
    save_run(tmp_path, SPREAD, env_steps=2)
    newest = checkpoints.checkpoint_paths(tmp_path)[0]
    (newest / "policies/agent/actor.safetensors").write_bytes(b"")
    assert evaluate_run(tmp_path, episodes=1, checkpoint="latest").checkpoint == "step-000000000001"
    assert "actor.safetensors has 0 bytes" in capsys.readouterr().err
    with pytest.raises(RunError, match="has 0 bytes"):
        evaluate_run(tmp_path, episodes=1, checkpoint=newest.name)
