"""The command line: what is understood, what is refused, and how it is said."""

from __future__ import annotations

import configparser
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sfmarl
from sfmarl import algorithms
from sfmarl.algorithms import get_algorithm, list_algorithms
from sfmarl.command import launching
from sfmarl.command.arguments import parse_config, parse_mapping
from sfmarl.command.cli import HELP, main
from sfmarl.command.resume import ResumeArguments
from sfmarl.config import Config
from sfmarl.errors import RunError, UsageError

ROOT = Path(__file__).parent.parent
SPREAD = "mpe2.simple_spread_v3"
LAUNCH_SCRIPTS = sorted((ROOT / "launch").glob("*.py"))


def train_config(*words: str) -> Config:
    return parse_config(words, prog="sfmarl train")


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what `sfmarl WORDS` prints on stderr when it refuses them with exit code 2."""
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


# ---------------------------------------------------------------------------------------------------- understanding


def test_flags_reach_settings_and_hyperparameters():
    config = train_config(
        *(SPREAD, "--env-kwargs", "N=3", "max_cycles=25", "--algo", "ippo", "--lr", "1e-4"),
        *("--num_workers", "3", "--num-splits=4", "--stop-score", "-36", "--run-dir", "a/b", "--policies", "agent=p"),
    )
    assert (config.env, config.env_kwargs, config.algo) == (SPREAD, {"N": 3, "max_cycles": 25}, "ippo")
    assert (config.num_workers, config.num_splits, config.stop_score) == (3, 4, -36.0)
    assert (config.run_dir, config.policies) == (Path("a/b"), {"agent": "p"})
    assert config.hp == replace(get_algorithm("ippo").hyperparameters(), lr=1e-4)


@pytest.mark.parametrize("algo", [entry.name for entry in list_algorithms()])
def test_hyperparameters_are_those_of_the_chosen_algorithm(algo: str):
    for words in (("--algo", algo), (f"--algo={algo}",), ("--algo", "a2c", "--algo", algo)):
        assert train_config(SPREAD, *words).hp == get_algorithm(algo).hyperparameters()


def test_a_hyperparameter_may_not_shadow_a_setting(monkeypatch):
    @dataclass
    class Clashing:
        lr: float = 1.0
        rollout: int = 8

    monkeypatch.setattr(algorithms, "get_algorithm", lambda name: SimpleNamespace(hyperparameters=Clashing))
    with pytest.raises(UsageError, match=r"'own'.*rollout"):
        train_config(SPREAD, "--algo", "own")


def test_mapping_values_are_json_or_strings():
    words = ["a=3", "b=0.5", "c=true", "d=[1, 2]", "e=word", "f=x=y", "g=", 'h="3"']
    expected = {"a": 3, "b": 0.5, "c": True, "d": [1, 2], "e": "word", "f": "x=y", "g": "", "h": "3"}
    assert parse_mapping(words, json_values=True) == expected
    numbers = {".5": 0.5, "-.25": -0.25, "1.": 1.0, "1e-3": 1e-3, "1E3": 1000.0, ".5E1": 5.0, "-2": -2}
    assert parse_mapping([f"{n}={n}" for n in numbers], json_values=True) == numbers
    assert parse_mapping(["a=1.2.3", "b=007", "c=."], json_values=True) == {"a": "1.2.3", "b": "007", "c": "."}
    assert parse_mapping(['{"N": 3, "nested": {"x": null}}'], json_values=True) == {"N": 3, "nested": {"x": None}}
    assert parse_mapping(["team=1"], json_values=False) == {"team": "1"}
    assert parse_mapping([], json_values=True) == {}


@given(
    st.dictionaries(
        st.text(min_size=1).filter(lambda k: "=" not in k and not k.lstrip().startswith("{")),
        st.integers() | st.booleans(),
    )
)
def test_key_value_words_say_what_a_json_object_says(mapping: dict):
    words = [f"{key}={json.dumps(value)}" for key, value in mapping.items()]
    assert parse_mapping(words, json_values=True) == parse_mapping([json.dumps(mapping)], json_values=True) == mapping


@pytest.mark.parametrize("words", [["N"], ["=3"], ["a=1", "a=2"], ["{"], ['{"a": 1', "b=2"]])
def test_a_broken_mapping_is_refused(words: list[str]):
    with pytest.raises(ValueError, match=r"key=value|twice|not a JSON object"):
        parse_mapping(words, json_values=True)


def test_resume_passes_on_only_what_was_given():
    assert ResumeArguments(Path("x")).overrides() == {}
    assert ResumeArguments(Path("x"), env_steps=5, num_workers=0).overrides() == {"env_steps": 5, "num_workers": 0}


# ---------------------------------------------------------------------------------------------------------- refusing


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tran", SPREAD], "'train'"),
        (["train"], "ENV"),
        (["train", SPREAD, "--env-steps", "many"], "--env-steps"),
        (["train", SPREAD, "--mode", "asynch"], "invalid choice"),
        (["train", SPREAD, "--num-wrkers", "2"], "--num-workers"),
        (["train", SPREAD, "--env-kwargs", "N"], "key=value"),
        (["train", SPREAD, "--algo", "mapo"], "'mappo'"),
        (["evaluate"], "RUN-DIR"),
        (["resume", "x", "--env-steps", "1.5"], "--env-steps"),
        (["list", "--verbose"], "--verbose"),
    ],
)
def test_wrong_words_exit_2_and_name_what_was_meant(capsys, words: list[str], expected: str):
    assert expected in refused(capsys, *words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "mpe2.simple_sprad_v3"], "simple_spread_v3"),
        (["train", "no_such_package.env_v0"], "no_such_package"),
        (["train", SPREAD, "--ring", "1"], "ring = 1"),
        (["train", SPREAD, "--mode", "serial", "--device", "cuda"], "serial"),
        (["check-env", "mpe2.simple_sprad_v3"], "simple_spread_v3"),
        (["resume", "no/such/run"], "no/such/run"),
        (["compare", "no/such/run"], "no/such/run"),
        (["export", "no/such/run"], "no/such/run"),
        (["evaluate", "no/such/run"], "no/such/run"),
        (["tournament", "no/such/run", "random"], "no/such/run"),
        (["play", "no/such/run"], "no/such/run"),
    ],
)
def test_impossible_requests_exit_2_and_leave_nothing(capsys, monkeypatch, tmp_path, words: list[str], expected: str):
    monkeypatch.chdir(tmp_path)
    error = refused(capsys, *words)
    assert error.startswith("sfmarl: ")
    assert expected in error
    assert list(tmp_path.iterdir()) == []


def test_a_run_directory_is_never_overwritten(capsys, tmp_path: Path):
    (tmp_path / "summary.json").write_text("{}")
    assert f"sfmarl resume {tmp_path}" in refused(capsys, "train", SPREAD, "--run-dir", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


# -------------------------------------------------------------------------------------------------- errors and exits


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("say it differently"), 2, "sfmarl: say it differently\n"),
        (RunError("the disk is full"), 1, "sfmarl: the disk is full\n"),
        (KeyboardInterrupt(), 130, "sfmarl: interrupted\n"),
        (KeyboardInterrupt(15), 143, "sfmarl: interrupted\n"),
        (ZeroDivisionError("by zero"), 1, "sfmarl: ZeroDivisionError: by zero. "),
    ],
)
def test_an_error_is_one_line_and_its_traceback_is_opt_in(capsys, monkeypatch, error, code: int, message: str):
    def fail(words):
        assert "--debug" not in words
        raise error

    monkeypatch.delenv("SFMARL_DEBUG", raising=False)
    assert launching.guarded(fail, ["train"]) == code
    silent = capsys.readouterr().err
    assert silent.startswith(message)
    assert len(silent.splitlines()) == 1
    assert launching.guarded(fail, ["train", "--debug"]) == code
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("SFMARL_DEBUG", "1")
    assert launching.guarded(fail, ["train"]) == code
    assert "Traceback" in capsys.readouterr().err


def test_an_unexpected_exception_leaves_its_traceback_in_the_run_directory(tmp_path: Path):
    with pytest.raises(RunError, match=r"KeyError: 'lost'.*crash\.txt"), launching.crash_report(tmp_path):
        raise KeyError("lost")
    assert "test_cli.py" in (tmp_path / "crash.txt").read_text()


def test_no_run_directory_no_crash_file_and_the_exception_itself(tmp_path: Path):
    with pytest.raises(KeyError, match="lost"), launching.crash_report(tmp_path / "absent"):
        raise KeyError("lost")
    with pytest.raises(UsageError), launching.crash_report(tmp_path):
        raise UsageError("expected")
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------------------- what prints


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == HELP
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sfmarl {sfmarl.__version__}\n"


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("train", ["ENV", "--env-kwargs", "--algo", "--lr", "--env-steps", "agent-steps", "seconds", "--seeds"]),
        ("resume", ["RUN-DIR", "--env-steps", "--trials"]),
        ("evaluate", ["RUN-DIR", "--episodes", "--json", "--gif", "--random-baseline"]),
        ("tournament", ["PLAYERS", "RUN@snapshots", "mcts:200", "--champion", "--openings", "--png", "--workers"]),
        ("play", ["RUN", "--against", "--seat", "--greedy"]),
        ("compare", ["RUNS", "--out", "LABEL=RUN"]),
        ("sweep", ["ENV", "--search", "log:1e-4..1e-2", "--trials", "--lr"]),
        ("export", ["RUN-DIR", "--format", "onnx", "--policy"]),
        ("check-env", ["ENV", "--env-kwargs", "--teams"]),
    ],
)
def test_every_command_explains_its_flags(capsys, command: str, flags: list[str]):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out.lower()
    for flag in flags:
        assert flag.lower() in text


def test_every_setting_has_a_help_text(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = re.sub(r"[│\s]+", " ", capsys.readouterr().out)
    bare = re.findall(r"--[\w-]+ (?:\{[\w,]+\}|\w+) \((?:default|required)", text)
    assert bare == []


def test_list_names_algorithms_and_environments(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "algorithms:"
    assert "environments:" in lines
    for name in ("ippo", "mappo", "appo", "a2c"):
        assert any(line.split()[0] == name for line in lines[1 : lines.index("environments:")])


def test_check_env_reports_a_good_environment(capsys):
    assert main(["check-env", SPREAD, "--env-kwargs", "N=2"]) == 0
    assert "agent" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------- scripts, package, repository


@pytest.mark.parametrize("script", LAUNCH_SCRIPTS, ids=lambda path: path.stem)
def test_launch_scripts_are_settings_that_the_command_line_overrides(monkeypatch, script: Path):
    started: list[Config] = []
    monkeypatch.setattr(launching, "train_in_run_dir", lambda config: started.append(config) or 0)
    default = runpy.run_path(str(script))["CONFIG"]
    for words in ([], ["--env-steps", "123", "--lr", "0.5", "--env-kwargs", "N=2"]):
        monkeypatch.setattr(sys, "argv", [str(script), *words])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(script), run_name="__main__")
        assert stop.value.code == 0
    assert started[0] == default
    assert (started[1].env_steps, started[1].hp.lr, started[1].env_kwargs) == (123, 0.5, {"N": 2})
    assert started[1].env == default.env


def test_a_script_started_with_another_algorithm_takes_that_preset():
    default = Config(env=SPREAD, algo="mappo", hp=replace(get_algorithm("mappo").hyperparameters(), lr=0.25))
    assert parse_config([], "x", default).hp.lr == 0.25
    assert parse_config(["--algo", "ippo"], "x", default).hp == get_algorithm("ippo").hyperparameters()


def test_help_needs_no_torch_and_the_module_is_the_command():
    """A subprocess, because this one has imported everything already."""
    check = (
        "import sys, sfmarl; from sfmarl.command.cli import main; main(['--help']); sfmarl.Config; "
        "assert 'torch' not in sys.modules and 'gymnasium' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == HELP
    done = subprocess.run([sys.executable, "-m", "sfmarl", "trai"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "sfmarl: 'trai' is no command. Did you mean 'train'? See sfmarl --help.\n",
    )


@pytest.mark.parametrize("words", [["doctor"], ["train", SPREAD], ["list", "--debug"]], ids=" ".join)
def test_a_package_that_cannot_be_imported_is_named_by_every_command(tmp_path, words):
    (tmp_path / "tyro.py").write_text("raise ImportError('undefined symbol', name='tyro')")
    done = subprocess.run(
        [sys.executable, "-m", "sfmarl", *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    *traceback, last = done.stderr.splitlines()
    assert last.startswith("sfmarl: tyro cannot be imported (ImportError: undefined symbol). The installation is")
    assert bool(traceback) == ("--debug" in words)


def test_public_names_are_there_and_others_are_not():
    for name in sfmarl.__all__:
        assert getattr(sfmarl, name) is not None
        assert name in dir(sfmarl)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = sfmarl.no_such_name


def test_a_reader_that_goes_away_is_no_error():
    """`sfmarl list | head -1`."""
    command = f"{sys.executable} -m sfmarl list | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout == "algorithms:\n"
    assert done.stderr == ""
    assert done.returncode in (0, 141)


def test_imports_go_down_the_layers():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_documents_name_commands_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text()
        assert set(re.findall(r"\bmake ([a-z-]+)", text)) - {"--help"} <= targets
        for path in re.findall(r"\b(?:launch|benchmarks|tests)/\w+\.py", text):
            assert (ROOT / path).is_file(), path
        for command in re.findall(
            r"\bsfmarl (train|resume|evaluate|tournament|play|compare|sweep|export|check-env|list|\w+-\w+)\b", text
        ):
            assert f"  {command} " in HELP


def test_a_killed_main_process_leaves_no_socket_of_its_fork_server(tmp_path):
    """Nor does the fork server that replaces one which was killed; children are started all the same."""
    script = """
import os, signal, time
from sfmarl.run import fork_server
fork_server.PRELOAD = ()
for _ in range(2):
    child = fork_server.fork_server().Process(target=print, args=("hello",))
    child.start()
    child.join()
    server = fork_server._SERVER._forkserver_pid
    os.kill(server, signal.SIGKILL)
    os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
fork_server.fork_server()
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGKILL, "hello\nhello\n", "")
    assert not list(tmp_path.iterdir())


def test_ci_runs_the_test_command_of_the_readme():
    command = (ROOT / ".ci" / "run").read_text().strip().splitlines()[-1]
    assert command == "exec make test"
    assert "make test " in (ROOT / "README.md").read_text()


def test_metadata_agrees_with_the_package_and_every_dependency_is_pinned():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["version"] == sfmarl.__version__
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    # an extra may name others of the package itself
    pinned.add(setup["metadata"]["name"])
    wanted = setup["options"]["install_requires"] + "".join(setup["options.extras_require"].values())
    for requirement in wanted.split("\n"):
        if requirement:
            assert re.split(r"[ <>=\[]", requirement)[0].lower() in pinned


@pytest.mark.parametrize(
    "words",
    ["resume {}", "evaluate {}", "export {} --out x.pt", "compare {} --out x", "play native/tic_tac_toe {}",
     "tournament {} random --env native/tic_tac_toe", "train games/climbing --run-dir {}",
     "train games/climbing --init-from {}", "league native/tic_tac_toe --seed-pool {}"],
)  # fmt: skip
def test_a_path_that_is_too_long_is_told_in_words(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(words.format("x" * 300).split())
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err
    assert code == 2 and "xxx" in said and "not expected" not in said and "Traceback" not in said
