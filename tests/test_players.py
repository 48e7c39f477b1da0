"""Who plays: settings of single policies, policies that are frozen, and scripts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sfmarl.config import Config
from sfmarl.envs.registry import load_spec
from sfmarl.envs.script import ScriptedPlayer, random
from sfmarl.errors import RunError, UsageError
from sfmarl.evaluation.evaluate import evaluate_run
from sfmarl.players import Frozen, Script, frozen_from, load_frozen, resolve_players
from sfmarl.run.runner import resume, train
from sfmarl.storage.checkpoint import latest
from tests.runs.small import config
from tests.runs.turn_games import Betting
from tests.saved_runs import save_run

TAG = Config(env="mpe2.simple_tag_v3", algo="ippo")


def settings(**players):
    return replace(TAG, players=players)


@pytest.fixture(scope="module")
def tag():
    return load_spec(TAG)


def test_each_policy_may_have_its_own_algorithm_and_hyperparameters(tag):
    players = resolve_players(settings(agent={"algo": "a2c", "lr": 1e-5, "hidden": [8]}), tag)
    assert list(players) == ["adversary", "agent"]
    assert players["adversary"].algo == "ippo" and players["adversary"].hp.hidden == (64, 64)
    own = players["agent"]
    assert (own.algo, own.hp.lr, own.hp.hidden, own.hp.surrogate) == ("a2c", 1e-5, (8,), "pg")


def test_settings_build_on_the_runs_hyperparameters_unless_the_algorithm_differs(tag):
    base = replace(TAG, hp=replace(resolve_players(TAG, tag)["agent"].hp, gamma=0.5))
    players = resolve_players(replace(base, players={"agent": {"lr": 1.0}, "adversary": {"algo": "appo"}}), tag)
    assert (players["agent"].hp.gamma, players["agent"].hp.lr) == (0.5, 1.0)
    assert (players["adversary"].hp.gamma, players["adversary"].hp.epochs) == (0.99, 4)


def test_frozen_and_scripts(tag):
    players = resolve_players(settings(agent={"script": "random"}), tag)
    assert players["agent"] == Script("random")
    (frozen, _) = resolve_players(settings(adversary={"frozen": "runs/a", "policy": "wolf"}), tag).values()
    assert (str(frozen.source), frozen.checkpoint, frozen.policy) == ("runs/a", "best", "wolf")


@pytest.mark.parametrize(
    ("players", "message"),
    [
        ({"adversaries": {}}, "Did you mean 'adversary'"),
        ({"agent": {"lr0": 1}}, "Did you mean 'lr'"),
        ({"agent": {"lr": "fast"}}, "lr must be of type float"),
        ({"agent": {"algo": "ipo"}}, "ippo"),
        ({"agent": "random"}, "must be a JSON object"),
        ({"agent": {"script": "random", "lr": 1}}, "'lr' has no meaning"),
        ({"agent": {"frozen": 3}}, "must be a string"),
        ({"agent": {"script": "random"}, "adversary": {"script": "random"}}, "nobody who learns"),
    ],
)
def test_what_cannot_be_meant(players, message, tag):
    with pytest.raises(UsageError, match=message):
        resolve_players(settings(**players), tag)


def test_a_frozen_policy_must_be_there_and_fit(tmp_path, tag):
    save_run(tmp_path, TAG)
    adversary, agent = tag.teams
    assert load_frozen("old", Frozen(tmp_path, "best", ""), [agent]).spec.name == "old"
    with pytest.raises(UsageError, match="cannot play team 'agent'"):
        load_frozen("old", Frozen(tmp_path, "best", "adversary"), [agent])
    with pytest.raises(UsageError, match="say which of them 'old' is"):
        load_frozen("old", Frozen(tmp_path, "best", "wolf"), [adversary])
    with pytest.raises(UsageError, match="neither a run directory"):
        load_frozen("old", Frozen(tmp_path / "nothing", "best", ""), [adversary])


def test_a_resumed_run_reads_frozen_policies_from_its_own_checkpoint(tmp_path):
    players = {"a": {"frozen": "gone", "policy": "x"}, "b": {"script": "random"}, "c": {"lr": 1}}
    moved = frozen_from(players, tmp_path)
    assert moved == players | {"a": {"frozen": str(tmp_path), "policy": "a"}}


def test_scripts_answer_within_the_space(tag):
    team, obs = tag.team("agent"), np.zeros((6, 1, 14), np.float32)
    action, _ = ScriptedPlayer("random", team, 0).act(obs)
    assert action.shape == (6, 1) and action.dtype == np.int32
    again, _ = ScriptedPlayer("random", team, 0).act(obs)
    np.testing.assert_array_equal(action, again)
    assert random(obs, None, team, np.random.default_rng(0)).max() < 5


def too_large(obs, action_mask, team, rng):
    return np.full(obs.shape[:2], 5)


def too_few(obs, action_mask, team, rng):
    return np.zeros(len(obs), int)


def raising(obs, action_mask, team, rng):
    raise KeyError("prey")


@pytest.mark.parametrize(
    ("call", "message"),
    [("too_large", "outside 0 to"), ("too_few", r"needs int32 \(2, 1\)"), ("raising", "KeyError: 'prey'")],
)
def test_a_script_that_answers_wrongly_is_named(call, message, tag):
    player = ScriptedPlayer(f"tests.test_players:{call}", tag.team("agent"), 0)
    with pytest.raises(RunError, match=message):
        player.act(np.zeros((2, 1, 14), np.float32))


@pytest.mark.parametrize("call", ["nowhere", "nowhere:act", "tests.test_players:act", "tests.test_players:TAG"])
def test_a_script_that_is_not_there(call, tag):
    with pytest.raises(UsageError, match="script"):
        ScriptedPlayer(call, tag.team("agent"), 0)


def flee(obs, action_mask, team, rng):
    """Always the same direction."""
    return np.ones(obs.shape[:2], np.int32)


@pytest.mark.parametrize("mode", ["serial", pytest.param("async", marks=pytest.mark.slow)])
def test_a_run_with_a_frozen_policy_a_script_and_a_learner(mode, tmp_path):
    """Who does not learn keeps its weights, is in every checkpoint, and never counts as throughput."""
    before = save_run(tmp_path / "old", TAG)["adversary"][1].state_dict()
    hp = replace(config(tmp_path).hp, critic="own")
    players = {"adversary": {"frozen": str(tmp_path / "old")}, "agent": {"actor_rnn": "gru", "rnn_size": 8}}
    run = config(tmp_path / "run", env=TAG.env, mode=mode, env_steps=600, hp=hp, players=players, final_eval_episodes=2)
    result = train(run)
    assert result.summary["agent_steps"] == result.summary["env_steps"]
    for path in (tmp_path / "old").rglob("*.safetensors"):
        path.unlink()
    result = resume(tmp_path / "run", env_steps=1200)
    checkpoint = latest(tmp_path / "run")
    assert set(checkpoint.policy_names) == {"adversary", "agent"}
    frozen = checkpoint.read_policy("adversary").actor_tensors
    assert frozen.keys() == before.keys() and all(torch.equal(frozen[name], before[name]) for name in frozen)
    assert checkpoint.read_policy("agent").spec.agents == ("agent_0",)
    assert result.policy().agents == ("adversary_0", "adversary_1", "adversary_2", "agent_0")


def test_a_scripted_team_learns_nothing_and_is_in_no_checkpoint(tmp_path):
    run = config(
        tmp_path / "run",
        env=TAG.env,
        mode="serial",
        env_steps=600,
        players={"agent": {"script": "tests.test_players:flee"}},
        final_eval_episodes=2,
    )
    result = train(run)
    assert latest(tmp_path / "run").policy_names == ("adversary",)
    assert result.summary["agent_steps"] == 3 * result.summary["env_steps"]
    assert set(result.summary["evaluation"]["teams"]) == {"adversary", "agent"}


def test_a_script_is_shown_the_masks_of_the_step_it_acts_at(tmp_path):
    """The environment itself asserts that no illegal action ever reaches it."""
    run = config(tmp_path / "run", env="tests.runs.small:Perilous", mode="serial", env_steps=600)
    result = train(replace(run, players={"prey": {"script": "random"}}))
    assert result.summary["stopped_by"] == "finished"


@pytest.mark.parametrize("settings", [{"script": "random"}, {"frozen": "old"}])
def test_the_score_is_that_of_who_learns(settings, tmp_path):
    """The first team gets better as the learner gets worse: its return must not choose the best checkpoint."""
    if "frozen" in settings:
        save_run(tmp_path / "old", TAG)
        settings = {"frozen": str(tmp_path / "old")}
    run = config(
        tmp_path / "run",
        env=TAG.env,
        mode="serial",
        env_steps=300,
        players={"adversary": settings},
        final_eval_episodes=2,
    )
    summary = train(run).summary
    evaluation = summary["evaluation"]
    assert evaluation["scored"] == ["agent"] and "`agent`" in summary["best"]["metric"]
    assert summary["best"]["score"] == evaluation["score"] == evaluation["teams"]["agent"]["mean"]


def highest(obs, action_mask, team, rng):
    """The last legal action."""
    return action_mask.shape[-1] - 1 - action_mask[..., ::-1].argmax(-1)


def test_turns_against_a_script_and_against_a_frozen_policy_with_memory(tmp_path):
    """The environment refuses illegal moves, so masks reach scripts and frozen policies, too; lag 0 means ratio 1."""
    env = "pettingzoo.classic.tictactoe_v3"
    pytest.importorskip(env)
    hp = replace(config(tmp_path).hp, critic="own", actor_rnn="gru", rnn_size=8)
    script = {"player_2": {"script": "tests.test_players:highest"}}
    shared = {"env": env, "env_steps": 800, "hp": hp, "mode": "serial", "final_eval_episodes": 2}
    first = train(config(tmp_path / "first", players=script, **shared))
    assert 0 < first.summary["agent_steps"] < 0.6 * first.summary["env_steps"]
    frozen = {"player_1": {"frozen": str(tmp_path / "first")}}
    second = train(config(tmp_path / "second", players=frozen, **shared))
    assert set(latest(tmp_path / "second").policy_names) == {"player_1", "player_2"}
    for result, policy in ((first, "player_1"), (second, "player_2")):
        name = f"learner/{policy}/ratio_max_first"
        ratios = [record[name] for record in result.metrics() if name in record]
        assert ratios and max(ratios) < 1e-4


def suspicious(obs, action_mask, team, rng):
    """Still, unless it is not told which team it plays."""
    assert obs.shape[1:] == (len(team.agents), *team.obs.shape)
    return np.zeros(obs.shape[:2], np.int32)


def test_one_script_plays_several_teams_each_as_itself(tmp_path):
    teams = '{"wolves": ["adversary_0", "adversary_1"], "stray": ["adversary_2"], "prey": ["agent_0"]}'
    run = config(
        tmp_path / "run",
        env=TAG.env,
        mode="serial",
        env_steps=300,
        teams=teams,
        policies={"stray": "dumb", "prey": "dumb"},
        players={"dumb": {"script": "tests.test_players:suspicious"}},
        final_eval_episodes=2,
    )
    assert set(train(run).summary["evaluation"]["teams"]) == {"wolves", "stray", "prey"}


class Echo(Betting):
    """The card is seen through what the other said last."""

    said = 0

    def observe(self, agent):
        return super().observe(agent) | {"observation": (self.card + self.said) % 2}

    def step(self, action):
        self.said = 0 if action is None else int(action)
        super().step(action)


@pytest.mark.parametrize("env", ["tests.test_players:Echo", "mpe2.simple_tag_v3"])
def test_a_serial_run_with_players_that_draw_resumes_to_the_bit(env, tmp_path):
    """Scripts and frozen policies go on in their streams, too. Checkpoints fall on the end of all episodes."""
    turns = env.endswith("Echo")
    learner, scripted = ("player_0", "player_1") if turns else ("adversary", "agent")
    steps = 2 * 4 * (16 if turns else 8)  # workers, envs, env-steps of an episode: a slot of the learner's
    shared = {
        "env": env,
        "env_kwargs": {"rounds": 8} if turns else {"max_cycles": 8},
        "mode": "serial",
        "players": {scripted: {"script": "random"}},
    }
    train(config(tmp_path / "whole", env_steps=6 * steps, **shared))
    train(config(tmp_path / "parts", env_steps=3 * steps, **shared))
    resume(tmp_path / "parts", env_steps=6 * steps)
    whole, parts = (
        latest(tmp_path / name).read_policy(learner).algorithm_state["tensors"] for name in ("whole", "parts")
    )
    assert not [name for name in whole if not torch.equal(whole[name], parts[name])]


SEEN: list[int] = []


def counted(obs, action_mask, team, rng):
    SEEN.append(len(obs))
    return np.zeros(obs.shape[:2], np.int32)


def test_scripts_play_on_in_the_random_baseline(tmp_path):
    """How much better than chance a team is depends on whom it plays: only the learners are replaced."""
    from tests.test_players import SEEN  # the module that the script's name means

    save_run(tmp_path, settings(agent={"script": "tests.test_players:counted"}))
    rows = {}
    for baseline in (False, True):
        SEEN.clear()
        found = evaluate_run(tmp_path, episodes=2, random_baseline=baseline)
        rows[baseline] = sum(SEEN)
    assert rows[True] == 2 * rows[False] > 0
    assert found.baseline.episodes == 2
