"""`sfmarl tournament` and `sfmarl play` on a small league: who is found, what is said, how it ends."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from saved_runs import save_run

from sfmarl.algorithms.ppo import Hyperparameters
from sfmarl.command.cli import main
from sfmarl.config import Config, LeagueConfig
from sfmarl.envs.registry import load_spec
from sfmarl.envs.script import SCRIPTS, register_script
from sfmarl.errors import UsageError
from sfmarl.evaluation.contestants import read_contestants
from sfmarl.evaluation.requests import parse_request, read_requests
from sfmarl.league.store import open_store
from sfmarl.run.runner import train
from sfmarl.storage import checkpoint
from tests.evaluation.simple_players import HERE

LEAGUE = Config(
    env="native/tic_tac_toe",
    algo="ippo",
    hp=Hyperparameters(critic="own", hidden=(16,), epochs=1, returns="vtrace"),
    league=LeagueConfig(snapshot_env_steps=1200, live_snapshots=2, pool_size=20),
    mode="serial",
    env_steps=6000,
    num_workers=1,
    num_envs_per_worker=32,
    num_splits=1,
    rollout=8,
    eval_env_steps=0,
    final_eval_episodes=0,
    quiet=True,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return train(replace(LEAGUE, run_dir=tmp_path_factory.mktemp("league") / "run")).run_dir


@pytest.fixture
def league(trained, tmp_path) -> Path:
    """A league's run directory of one's own."""
    return shutil.copytree(trained, tmp_path / "run")


def pool(run_dir: Path) -> list[str]:
    entries = checkpoint.latest(run_dir).run_state["league"]["pool"]["entries"]
    return list(dict.fromkeys(entry["address"] for entry in entries))


def said(capsys, *words: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of `sfmarl WORDS`."""
    code = main(list(map(str, words)))
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def refused(capsys, *words: str, code: int = 2) -> str:
    found, out, err = said(capsys, *words)
    assert (found, out) == (code, "")
    assert err.startswith("sfmarl: ")
    return err


# ------------------------------------------------------------------------------------------------------- who is meant


def test_a_run_is_its_newest_checkpoint_and_snapshots_are_those_of_its_pool(league):
    assert len(pool(league)) >= 4
    requests, config = read_requests([str(league), f"{league}@snapshots", "random"])
    found = read_contestants(requests, load_spec(config))
    assert config.env == "native/tic_tac_toe" and config.league is None
    assert [c.kind for c in found] == ["checkpoint", *["snapshot"] * len(pool(league)), "script"]
    assert [c.address for c in found[1:-1]] == pool(league)
    assert found[0].checkpoint == checkpoint.latest(league).path.name
    steps = [c.env_steps for c in found[1:-1]]
    assert steps == sorted(steps) and found[0].name == f"run@{found[0].env_steps:,}"
    assert len({policy.kind for c in found for policy in c.policies}) == 1, "all are answered by one bank"


def test_snapshots_are_thinned_out_over_the_history(league):
    requests, config = read_requests([f"{league}@snapshots"])
    found = read_contestants(requests, load_spec(config), snapshots=3)
    addresses = pool(league)
    assert [c.address for c in found] == [addresses[0], addresses[round((len(addresses) - 1) / 2)], addresses[-1]]


def test_checkpoints_policies_and_labels(league):
    first = checkpoint.checkpoint_paths(league)[-1].name
    words = [f"a={league}@{first}", f"b={league}@latest", f"c={league}:main@best", f"d={league}@{pool(league)[0][:6]}",
             f"e={league}/checkpoints/{first}"]  # fmt: skip
    requests, config = read_requests(words)
    found = read_contestants(requests, load_spec(config))
    assert [c.name for c in found] == list("abcde")
    assert [c.checkpoint for c in found][::4] == [first, first]
    assert found[1].checkpoint == found[2].checkpoint == checkpoint.latest(league).path.name, "none is marked best"
    assert found[3].address == pool(league)[0]


def test_a_directory_wins_over_a_script_and_an_equals_sign_may_be_part_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("random", "lr=0.1", "a@b"):
        (tmp_path / name).mkdir()
        assert parse_request(name).run == Path(name)
    assert parse_request("x=a@b@best").which == "best"


def test_scripts_may_be_registered(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(SCRIPTS, "_values", dict(SCRIPTS))
    (tmp_path / "own.py").write_text(
        "import sfmarl\n\ndef act(obs, mask, team, rng):\n    '''The first legal move.'''\n    return mask.argmax(-1)\n"
        "\nsfmarl.register_script('lowest', act)\n"
    )
    words = ("--imports", str(tmp_path / "own.py"))
    code, out, _ = said(capsys, "tournament", "lowest", f"same={HERE}:first", "--env", "native/tic_tac_toe", *words)
    assert code == 0 and "lowest" in out
    assert SCRIPTS["lowest"].__doc__ == "The first legal move."
    with pytest.raises(UsageError, match="registered already"):
        register_script("random", lambda *args: None)


def test_weights_of_a_plain_run_of_two_policies_sit_each_in_their_seat(tmp_path):
    save_run(tmp_path / "two", Config(env="native/tic_tac_toe", algo="ippo"))
    requests, config = read_requests([str(tmp_path / "two"), f"{tmp_path / 'two'}:player_1"])
    own, one = read_contestants(requests, load_spec(config))
    assert [policy.spec.name for policy in own.policies] == ["player_1", "player_2"]
    assert [policy.spec.name for policy in one.policies] == ["player_1", "player_1"]


# ---------------------------------------------------------------------------------------------------------- tournament


def test_a_tournament_is_told_written_and_drawn(capsys, league, tmp_path):
    code, out, err = said(
        *(capsys, "tournament", league, f"{league}@snapshots", "random", "--snapshots", "3", "--games", "10"),
        *("--json", tmp_path / "t.json", "--png", tmp_path / "t.png", "--openings", "1"),
    )
    assert (code, err) == (0, "")
    data = json.loads((tmp_path / "t.json").read_text())
    assert [player["kind"] for player in data["players"]] == ["checkpoint", *["snapshot"] * 3, "script"]
    assert data["matches"] == 5 * 4 * 10 and data["openings"] == 1
    name = data["players"][0]["name"]
    assert f"{name} against 3 own snapshots: " in out and f"{name} against 1 other player: " in out
    for player in data["players"]:
        assert player["name"] in out
    assert (tmp_path / "t.png").stat().st_size > 10_000
    code, printed, _ = said(capsys, "tournament", league, "random", "--games", "2", "--json", "-")
    assert code == 0 and json.loads(printed)["matches"] == 4


def test_greedy_without_openings_is_a_warning(capsys, league):
    code, _, err = said(capsys, "tournament", league, "random", "--games", "2", "--greedy")
    assert code == 0 and "--openings" in err


def test_the_games_of_pettingzoo_are_played_on_the_native_twin_if_asked(capsys, league, tmp_path):
    pytest.importorskip("pygame")
    config = Config(env="classic/tictactoe-v3", algo="ippo", policies={"player_1": "main", "player_2": "main"})
    save_run(tmp_path / "zoo", config)
    words = ("tournament", tmp_path / "zoo", league, "--games", "2")
    assert "say --env native/tic_tac_toe" in refused(capsys, *words)
    code, out, _ = said(capsys, *words, "--env", "native/tic_tac_toe")
    assert code == 0 and out.startswith("native/tic_tac_toe")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["{run}", "nowhere"], "there is no player 'nowhere'"),
        (["{run}", "{run}/nowhere"], "there is no player"),
        (["{run}", "{run}@step-000000000007"], "no checkpoint or snapshot 'step-000000000007'"),
        (["{run}", "{run}@ffffffff"], "no checkpoint or snapshot 'ffffffff'"),
        (["{run}", "{run}:other"], "holds no policy 'other', only main"),
        (["{run}", "{run}"], "two players are called"),
        (["{run}", "random", "--env", "native/connect_four"], r"cannot play 'player_0'.*shape \(6, 7, 2\)"),
        (["{run}", "random", "--env", "native/tic_tac_toe", "--env-kwargs", "a=1"], "takes no keyword argument 'a'"),
        (["{run}", "random", "--champion", "nobody"], "champion 'nobody' is none"),
        (["{run}", "random", "--json", "{run}"], "cannot be written"),
        (["{run}", "random", "--workers", "0"], "workers = 0"),
        (["{run}", "mcts:many"], "number of simulations"),
        (["{empty}", "random"], "no player says which game is played"),
        (["{run}", "{empty}@snapshots"], "holds no snapshots"),
        (["{run}", "{empty}"], "neither a run directory nor a checkpoint"),
    ],
)
def test_wrong_players_exit_2(capsys, league, tmp_path, words, why):
    (tmp_path / "empty").mkdir()
    words = [word.format(run=league, empty=tmp_path / "empty") for word in words]
    error = refused(capsys, "tournament", *words, "--games", "1")
    assert re.search(why, error), error


def test_a_missing_and_a_damaged_snapshot_exit_2(capsys, league):
    store = open_store(league)
    gone, damaged, *_ = pool(league)
    (store.path / f"{gone}.safetensors").unlink()
    error = refused(capsys, "tournament", league, f"{league}@snapshots")
    assert "1 of" in error and gone in error and "missing" in error
    assert gone in refused(capsys, "tournament", league, f"{league}@{gone[:8]}")
    path = store.path / f"{damaged}.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    for words in (["tournament", league, f"{league}@{damaged[:8]}"], ["play", league, "--against", f"@{damaged[:8]}"]):
        error = refused(capsys, *words)
        assert path.name in error and "its content has the hash" in error
    path.write_bytes(b"nothing")
    (store.path / f"{gone}.safetensors").write_bytes(b"nothing")
    assert "does not begin like" in refused(capsys, "tournament", league, f"{league}@snapshots")


def test_a_snapshot_of_another_game_does_not_fit(capsys, league, tmp_path):
    config = Config(env="native/connect_four", algo="ippo", policies={"player_0": "main", "player_1": "main"})
    save_run(tmp_path / "four", config)
    shutil.copytree(league / "snapshots", tmp_path / "four" / "snapshots")
    error = refused(capsys, "tournament", tmp_path / "four", f"{tmp_path / 'four'}@{pool(league)[0][:8]}")
    assert "cannot play 'player_0' of native/connect_four" in error
    assert "play one game" in refused(capsys, "tournament", tmp_path / "four", league)


def test_mcts_needs_its_package(capsys, league, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    assert "pip install 'sfmarl[openspiel]'" in refused(capsys, "tournament", league, "mcts:10", "--games", "1")


def test_mcts_beats_random_play(capsys):
    pytest.importorskip("pyspiel", reason="pip install 'sfmarl[openspiel]'")
    words = ("tournament", "mcts:50", "random", "--env", "native/connect_four", "--games", "20", "--json", "-")
    code, out, _ = said(capsys, *words)
    assert code == 0 and json.loads(out)["verdicts"][0]["beats"] == ["random"]


# ---------------------------------------------------------------------------------------------------------------- play


def typed(monkeypatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_person_wins_and_loses_against_a_script(capsys, monkeypatch, league):
    """The script takes the first free square: a1, a2, a3, then the next column."""
    words = ("play", league, "--against", f"easy={HERE}:first", "--seat", "0")
    typed(monkeypatch, "c1\nc2\nc3\ny\nb1\nb3\nc1\nn\n")
    code, out, err = said(capsys, *words)
    assert (code, err) == (0, "")
    assert "You are player_1, X, and move first." in out
    assert "You play c2." in out and "easy (O) plays a2." in out
    assert "1 O . X\n2 O . X\n3 . . X\n  a b c" in out
    assert "You win." in out and "easy wins." in out
    assert out.rstrip().endswith("You won 1, drawn 0, lost 1.")


def test_the_second_seat_moves_second_and_bad_input_is_answered(capsys, monkeypatch, league):
    typed(monkeypatch, "a1\nd9\n\n?\nB2\nq\n")
    code, out, _ = said(capsys, "play", league, "--against", f"{HERE}:first", "--seat", "1")
    assert code == 0
    assert "You are player_2, O, and do not move first." in out
    assert "a1 is not possible now. Possible: a2, a3, b1, b2, b3, c1, c2, c3." in out
    assert "'d9' is no square: type a column and a row" in out
    assert out.count("Moves: a2, a3") == 2 and "You play b2." in out
    assert "wins" not in out


@pytest.mark.parametrize("against", [[], ["--against", "random"], ["--against", "@{snapshot}"], ["--greedy"]])
def test_any_opponent_and_the_end_of_the_input(capsys, monkeypatch, league, against):
    typed(monkeypatch, "")
    words = [word.format(snapshot=pool(league)[0][:8]) for word in against]
    code, out, _ = said(capsys, "play", league, *words, "--seed", "1")
    assert code == 0 and "Your move" in out


def test_against_mcts(capsys, monkeypatch, league):
    pytest.importorskip("pyspiel", reason="pip install 'sfmarl[openspiel]'")
    typed(monkeypatch, "a1\nc1\nq\n")
    code, out, _ = said(capsys, "play", league, "--against", "mcts:300", "--seat", "0", "--seed", "1")
    assert code == 0 and "mcts:300 (O) plays b1." in out, "it has to block"


def test_control_c_exits_130(capsys, monkeypatch, league):
    def interrupted(prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    code, out, err = said(capsys, "play", league, "--seat", "0")
    assert (code, err) == (130, "sfmarl: interrupted\n") and out


def test_connect_four_of_pettingzoo_is_played_on_its_twin(capsys, monkeypatch, tmp_path):
    pytest.importorskip("pygame")
    config = Config(
        env="pettingzoo.classic.connect_four_v3", algo="ippo", policies={"player_0": "main", "player_1": "main"}
    )
    save_run(tmp_path / "zoo", config)
    typed(monkeypatch, "4\n9\nq\n")
    code, out, _ = said(capsys, "play", tmp_path / "zoo", "--seat", "0")
    assert code == 0 and ". . . X . . .\n 1 2 3 4 5 6 7" in out and "'9' is no column" in out


def test_who_won_is_what_the_game_says(capsys, monkeypatch):
    """The larger number wins, which pays nothing."""
    typed(monkeypatch, "1\ny\n0\nn\n")
    words = ("play", f"{HERE}:zero", "--env", "tests.runs.league_games:PersonsDuel", "--seat", "0")
    code, out, err = said(capsys, *words)
    assert (code, err) == (0, "") and out.rstrip().endswith("You won 1, drawn 1, lost 0.")


@pytest.mark.parametrize("seat", [0, 1])
def test_moves_of_a_matrix_game_are_told_once_both_are_made(capsys, monkeypatch, seat):
    """The script always shows rock (0); what it chose is not told before the person has chosen."""
    typed(monkeypatch, "paper\nlizard\nSC\nq\n")
    words = ("play", f"easy={HERE}:zero", "--env", "native/rock_paper_scissors", "--env-kwargs", "length=2")
    code, out, err = said(capsys, *words, "--seat", str(seat))
    assert (code, err) == (0, "")
    assert f"You are player_{seat}, {('row', 'column')[seat]}, and choose when everybody does." in out
    assert "paper                1, -1  0, 0   -1, 1" in out
    you, easy = "You play paper.", f"easy ({('column', 'row')[seat]}) plays rock."
    assert " ".join([you, easy] if seat == 0 else [easy, you]) in out
    assert out.index("Your move (rock, paper, scissors): paper") < out.index("plays rock")
    assert f"    1  {'paper     rock         1  -1' if seat == 0 else 'rock      paper       -1   1'}" in out
    assert "'lizard' is no move: type one of rock, paper, scissors, or how just one begins" in out
    assert "A draw." in out
    assert out.rstrip().endswith("You won 0, drawn 1, lost 0.")


def test_a_game_that_nobody_wins_is_told_by_what_it_pays(capsys, monkeypatch):
    """Tit for tat answers what it saw, which is the round before and not the one that is played."""
    typed(monkeypatch, "defect\nd\nc\nn\n")
    words = ("--env", "native/prisoners_dilemma", "--env-kwargs", "length=3", "--seat", "0")
    code, out, err = said(capsys, "play", "copy=tests.envs.test_matrix:tit_for_tat", *words)
    assert (code, err) == (0, "")
    moves = ("defect     cooperate     5  0", "defect     defect        1  1", "cooperate  defect        0  5")
    assert all(f"    {number}  {row}" in out for number, row in enumerate(moves, 1))
    assert "You earned 6, copy 6." in out and out.rstrip().endswith("Games played: 1.")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["{run}", "--seat", "2"], "there is no seat '2': say 0, 1 or random"),
        (["{run}@snapshots"], "are many"),
        (["{run}", "--against", "nobody"], "there is no player 'nobody'"),
        (["random", "--env", "native/simple_tag"], "cannot be played in a terminal"),
        (["random", "--env", "mpe2.simple_tag_v3"], "cannot be played in a terminal"),
        (["{run}", "--env", "native/connect_four"], "cannot play 'player_0'"),
    ],
)
def test_what_cannot_be_played_exits_2(capsys, monkeypatch, league, words, why):
    typed(monkeypatch, "")
    assert why in refused(capsys, "play", *[word.format(run=league) for word in words])
