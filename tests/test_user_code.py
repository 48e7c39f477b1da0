"""Modules of the user's: found, loaded once, and every way in which that can fail; what they register."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from saved_runs import save_run

from sfmarl import user_code
from sfmarl.algorithms import ALGORITHMS
from sfmarl.command.cli import main
from sfmarl.config import Config
from sfmarl.envs.registry import ENVS, load_spec
from sfmarl.errors import UsageError
from sfmarl.evaluation.evaluate import evaluate_run
from sfmarl.evaluation.policy import load_policy
from sfmarl.registry import Call, Registry, parse_call
from sfmarl.run.runner import resume
from sfmarl.storage.config_file import read_config
from sfmarl.user_code import absolute, import_callable, import_user_code, module_name

TEAM = """\
from dataclasses import dataclass

import sfmarl
from sfmarl.algorithms.ppo import PPO, Hyperparameters as PPOHyperparameters
from sfmarl.envs.games import MatrixGame

LOADED = []
LOADED.append(__name__)


@dataclass
class Hyperparameters(PPOHyperparameters):
    critic: str = "own"
    temper: float = 0.5


class Mine(PPO):
    \"\"\"My rule.

    More of it.
    \"\"\"

    Hyperparameters = Hyperparameters


def build(length=3):
    return MatrixGame([[1, 0], [0, 1]], length)


sfmarl.register_env("mine/game", build, "my game")
sfmarl.register_algorithm("mine", Mine)
"""


@pytest.fixture
def own_names(monkeypatch):
    """Whatever a test registers or imports is forgotten again."""
    for registry in (ALGORITHMS, ENVS):
        monkeypatch.setattr(registry, "_values", dict(registry))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(user_code.FILE_PREFIX) or name.startswith("tested_"):
            del sys.modules[name]


@pytest.fixture
def team(tmp_path, own_names) -> Path:
    path = tmp_path / "my team.py"
    path.write_text(TEAM)
    return path


def forget(path: Path) -> None:
    """Be a process that has never seen the file."""
    sys.modules.pop(module_name(path.resolve()), None)
    for registry, names in ((ALGORITHMS, ["mine"]), (ENVS, ["mine/game"])):
        for name in names:
            registry._values.pop(name, None)


# ------------------------------------------------------------------------------------------------------------ imports


def test_a_file_is_loaded_once_under_a_name_made_of_its_path(team, monkeypatch):
    monkeypatch.chdir(team.parent)
    import_user_code(["my team.py", str(team)])
    import_user_code([str(team)])
    name = module_name(team)
    assert len(sys.modules[name].LOADED) == 1 and name.isidentifier() and "my_team" in name
    assert module_name(team) != module_name(team.parent / "other" / team.name)
    assert load_spec(Config("mine/game")).num_agents == 2


def test_loading_the_same_lines_a_second_time_changes_nothing(team):
    import_user_code([str(team)])
    first = ALGORITHMS["mine"].cls
    del sys.modules[module_name(team)]
    import_user_code([str(team)])
    assert ALGORITHMS["mine"].cls is not first
    assert ALGORITHMS["mine"].hyperparameters().temper == 0.5
    team.with_name("rival.py").write_text(TEAM)
    with pytest.raises(UsageError, match=r"rival.*environment 'mine/game' is registered already"):
        import_user_code([str(team.with_name("rival.py"))])


def test_a_file_finds_its_neighbours_but_hides_no_package(tmp_path, own_names):
    (tmp_path / "tested_neighbour.py").write_text("VALUE = 3\n")
    (tmp_path / "numpy.py").write_text("raise SystemError\n")
    (tmp_path / "mine.py").write_text("import numpy, tested_neighbour\nassert tested_neighbour.VALUE == 3\n")
    import_user_code([str(tmp_path / "mine.py")])
    assert sys.path[-1] == str(tmp_path)


def test_the_running_script_is_not_loaded_a_second_time(team, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(team), raising=False)
    import_user_code([str(team)])
    assert module_name(team) not in sys.modules


def test_modules_are_imported_by_name(tmp_path, own_names):
    sys.path.insert(0, str(tmp_path))
    (tmp_path / "tested_module.py").write_text("")
    import_user_code(["tested_module"])
    assert "tested_module" in sys.modules


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.py", None, ["there is no file", "gone.py", "--imports"]),
        ("bad.py", "x = 1\n\ndef f():\n    return nothing\n\nf()\n", ["bad.py raised NameError in line 4", "nothing"]),
        ("syntax.py", "x = 1\nif\n", ["syntax.py raised SyntaxError in line 2"]),
        ("missing.py", "import no_such_package\n", ["missing.py raised ModuleNotFoundError in line 1", "no_such_pack"]),
        ("ends.py", "import sys\nsys.exit(3)\n", ["ends.py ends the program", "__main__"]),
        ("trains.py", "import sfmarl\nsfmarl.train(sfmarl.Config('games/dict'))\n", ["calls train()", "__main__"]),
        ("usage.py", "import sfmarl\nsfmarl.register_env('a:b', print)\n", ["environment 'a:b'"]),
        ("tested_absent", None, ["no module 'tested_absent'", "PYTHONPATH", "the file tested_absent.py"]),
        ("tested_absent.part", None, ["no module 'tested_absent.part'"]),
    ],
)
def test_what_is_wrong_with_an_import_is_one_message(tmp_path, monkeypatch, own_names, name, content, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tested_absent.py").write_text("")
    if content is not None:
        (tmp_path / name).write_text(content)
    for _ in range(2):  # a failing import is not taken for a successful one later
        with pytest.raises(UsageError) as caught:
            import_user_code([name])
        message = str(caught.value)
        assert message.startswith("imports: ") and "\n" not in message
        for word in words:
            assert word in message
    assert user_code.being_imported() is None


def test_paths_are_kept_absolute_and_modules_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute(["a.py", "pkg.mod", "b/c.py"]) == (str(tmp_path / "a.py"), "pkg.mod", str(tmp_path / "b" / "c.py"))


def test_callables_by_place():
    assert import_callable("reward", "json:loads") is json.loads
    assert import_callable("reward", "json:JSONDecoder.decode") is json.JSONDecoder.decode
    for name, words in (
        ("json:load_", "has no 'load_'"),
        ("json:decoder", "cannot be called"),
        ("nix:x", "cannot be imported"),
    ):
        with pytest.raises(UsageError, match=words):
            import_callable("reward", name)


# ----------------------------------------------------------------------------------------------------------- registry


def test_a_registry_answers_with_the_nearest_name_and_takes_no_other_thing_under_it():
    registry = Registry("thing")
    with pytest.raises(UsageError, match="no thing named 'x'"):
        registry.find("x")
    registry.register("alpha", test_callables_by_place, "the first")
    registry.register("alpha", test_callables_by_place, "the first, again")
    assert registry.entries() == [("alpha", "the first, again")] and dict(registry) == {
        "alpha": test_callables_by_place
    }
    with pytest.raises(UsageError, match="'alpha' is registered already"):
        registry.register("alpha", forget)
    with pytest.raises(UsageError, match=r"no thing named 'alpa'. Did you mean 'alpha'\? Known: alpha"):
        registry.find("alpa")
    for bad in ("", "a:b", "a?b", " a"):
        with pytest.raises(UsageError, match="name"):
            registry.register(bad, forget)
    registry.register("beta", forget)
    assert registry.entries()[1].description == "Be a process that has never seen the file."


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("near", Call("near", {})),
        ("near?", Call("near", {})),
        (
            "near?a=1&b=0.5&c=[1, 2]&d=word&e=true",
            Call("near", {"a": 1, "b": 0.5, "c": [1, 2], "d": "word", "e": True}),
        ),
        ("near?a=.5&b=-.25&c=.x&d=a.5", Call("near", {"a": 0.5, "b": -0.25, "c": ".x", "d": "a.5"})),
        ('m.n:f?{"text": "a&b=c"}', Call("m.n:f", {"text": "a&b=c"})),
        ("near?a==", Call("near", {"a": "="})),
        ("near?a=.5&b=-1.&c=.&d=.5e-3&e=1.5.", Call("near", {"a": 0.5, "b": -1.0, "c": ".", "d": 0.0005, "e": "1.5."})),
    ],
)
def test_calls(text, call):
    assert parse_call(text) == call


@pytest.mark.parametrize("text", ["", "?a=1", "near?a", "near?a=1&a=2", "near?1=2", "near?{", "near?=3"])
def test_broken_calls_are_refused(text):
    with pytest.raises(UsageError):
        parse_call(text)


# ------------------------------------------------------------------------------------------------------ run directories


@pytest.fixture
def run_dir(team, tmp_path) -> Path:
    """A run of the file's environment and algorithm, in a process that does not know them yet."""
    import_user_code([str(team)])
    config = Config(env="mine/game", algo="mine", imports=(str(team),), final_eval_episodes=0)
    config.hp = ALGORITHMS["mine"].hyperparameters()
    save_run(tmp_path / "run", config)
    forget(team)
    return tmp_path / "run"


def test_a_run_names_its_code(run_dir, team):
    config = read_config(run_dir / "config.json")
    assert config.imports == (str(team),) and config.hp.temper == 0.5


def test_evaluating_and_loading_import_it(run_dir, team):
    assert evaluate_run(run_dir, episodes=3).env_version.startswith("sfmarl")
    forget(team)
    policy = load_policy(run_dir)
    assert set(policy.act({agent: np.ones(1, np.float32) for agent in policy.agents})) == {"agent_0", "agent_1"}


def test_nothing_but_the_settings_file_names_code(run_dir, team):
    """A checkpoint alone imports nothing: without its config.json the algorithm is not known."""
    (run_dir / "config.json").unlink()
    with pytest.raises(UsageError, match="no algorithm named 'mine'"):
        load_policy(run_dir)
    assert module_name(team) not in sys.modules


def test_a_run_whose_file_is_gone_says_so_and_takes_another(run_dir, team, tmp_path, capsys):
    moved = team.rename(tmp_path / "elsewhere.py")
    for use in (evaluate_run, load_policy, resume):
        with pytest.raises(UsageError, match=r"config\.json .*there is no file .*my team\.py"):
            use(run_dir)
    assert main(["evaluate", str(run_dir), "--episodes", "2", "--imports", str(moved)]) == 0
    assert "agent_0" in capsys.readouterr().out
    assert set(load_policy(run_dir, imports=[str(moved)]).agents) == {"agent_0", "agent_1"}
    assert read_config(run_dir / "config.json", [str(moved)]).imports == (str(moved),)


def test_settings_with_impossible_imports_are_refused(run_dir):
    data = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps({**data, "imports": "my team.py"}))
    with pytest.raises(UsageError, match="imports must be a list"):
        read_config(run_dir / "config.json")


# -------------------------------------------------------------------------------------------------------- command line


def test_the_command_line_imports_before_it_looks_anything_up(team, capsys):
    assert main(["check-env", "mine/game", "--env-kwargs", "length=2", "--imports", str(team)]) == 0
    assert "'agent': 2 agents" in capsys.readouterr().out
    forget(team)
    with pytest.raises(SystemExit):
        main(["train", "--help", "--imports", str(team), "--algo", "mine"])
    assert "--temper" in capsys.readouterr().out
    forget(team)
    assert main(["train", "mine/game", "--algo", "mine"]) == 2
    assert "--imports" in capsys.readouterr().err


def test_list_shows_what_a_file_registers(team, capsys, monkeypatch):
    from sfmarl.monitor.metrics import USER_METRICS
    from sfmarl.run.callbacks import CALLBACKS
    from sfmarl.workers.shaping import REWARDS

    for registry in (USER_METRICS, CALLBACKS, REWARDS):
        monkeypatch.setattr(registry, "_values", {})
    team.write_text(TEAM + "sfmarl.register_metric('gain', unit='gold', description='what is gained')\n")
    assert main(["list", "--imports", str(team)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["mine", "My", "rule."] for line in lines)
    assert any(line.split() == ["mine/game", "my", "game"] for line in lines)
    assert lines[lines.index("metrics:") + 1].split() == ["gain", "what", "is", "gained"]
    assert "none" in lines[lines.index("callbacks:") + 1]


def test_lists_and_single_names_become_tuples():
    config = Config("e", imports=["a.py", "b"], callbacks="x", info_metrics=["win"])
    assert (config.imports, config.callbacks, config.info_metrics) == (("a.py", "b"), ("x",), ("win",))
