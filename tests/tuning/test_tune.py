"""From settings to settings, and the commands in front of it."""

from __future__ import annotations

import json

import pytest

from sfmarl.command import cli
from sfmarl.command.arguments import TrainArguments, given_settings, parse_run
from sfmarl.command.tune import _without_own
from sfmarl.config import Config
from sfmarl.errors import RunError, UsageError
from sfmarl.run.runner import resume
from sfmarl.storage.config_file import read_config
from sfmarl.tuning import tune as tuning_module
from sfmarl.tuning.choose import TUNED
from sfmarl.tuning.trials import steady_rate
from sfmarl.tuning.tune import tune

from .test_choose import figures

SMALL = ("games/climbing", "--algo", "ippo", "--hidden", "8", "--rollout", "8")


@pytest.fixture
def measured(monkeypatch):
    """Measure nothing: two cores and a learner that a second worker would not help."""
    given = figures(cores=2, learn=(0.0, 1e-4))
    monkeypatch.setattr(tuning_module, "measure", lambda config, env, seconds: given)
    return given


def records(*rows):
    names = ("wall_seconds", "agent_steps", "throughput/updates_per_second")
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_a_trials_rate_is_that_after_its_first_update():
    rows = [(t, 1000 * t, 1.0 if t >= 4 else 0.0) for t in range(1, 9)]
    rows[:3] = [(1, 0, 0.0), (2, 3000, 0.0), (3, 3000, 0.0)]
    assert steady_rate(records(*rows), 6) == 1000
    assert steady_rate(records((1, 0, 0), (2, 10, 0), (3, 20, 0)), 2) == 10, "no update came"
    with pytest.raises(RunError, match="--trial-seconds"):
        steady_rate(records((1, 0, 0), (2, 0, 0)), 2)


def test_given_is_what_a_flag_or_a_script_says():
    words = [*SMALL[1:], "--num_workers=0", "--batch-size", "0"]
    config = parse_run(TrainArguments, words, prog="sfmarl train", default=Config(env="x", num_splits=1))
    assert given_settings(words, config, TUNED) == {"num_workers", "batch_size", "num_splits"}


def test_the_fastest_of_the_trials_is_taken(measured, monkeypatch):
    rates = iter((10.0, 30.0, 20.0))
    trained = []

    def train(config, seconds):
        trained.append(config)
        return next(rates)

    monkeypatch.setattr(tuning_module, "measure_training", train)
    tuning = tune(Config(env="games/climbing", algo="ippo"), trials=3)
    assert [rate for _, rate in tuning.trials] == [30.0, 20.0, 10.0]
    assert tuning.config == trained[1]
    assert tuning.best is tuning.trials[0][0]


def test_serial_and_contradictions_are_refused(measured):
    with pytest.raises(UsageError, match="nothing to tune"):
        tune(Config(env="games/climbing", mode="serial"))
    given = {"num_workers": 1, "num_envs_per_worker": 32, "batch_size": 64}
    with pytest.raises(UsageError, match=r"\(batch_size, num_envs_per_worker, num_workers\) leave nothing"):
        tune(Config(env="games/climbing", algo="ippo", **given), given)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "ENV"),
        ((*SMALL, "--mode", "serial"), "nothing to tune"),
        ((*SMALL, "--trials", "0"), "--trials"),
        ((*SMALL, "--probe-seconds", "-1"), "--probe-seconds"),
        ((*SMALL, "--num-workers", "many"), "--num-workers"),
        (("no_such_package.env_v0",), "no_such_package"),
    ],
)
def test_wrong_words_exit_2(words, expected, capsys):
    try:
        code = cli.main(["tune", *words])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert expected in err and "Traceback" not in err


def test_the_command_explains_and_says_how_to_repeat_it(measured, capsys):
    words = [*SMALL, "--num-workers", "2", "--probe-seconds", "1", "--trials=2"]
    assert cli.main(["tune", *words]) == 0
    *told, repeat = capsys.readouterr().out.splitlines()
    assert any("bottleneck: learner" in line for line in told)
    assert any("as given: num_workers" in line for line in told)
    again = repeat.removeprefix("repeat: sfmarl train ").split()
    config = parse_run(TrainArguments, again, prog="sfmarl train")
    assert cli.main(["tune", *words, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {name: getattr(config, name) for name in TUNED} == data["settings"]
    assert data["kept"] == ["num_workers"] and data["expected"]["bottleneck"] == "learner"
    assert again[: len(SMALL)] == list(SMALL) and "--trials=2" not in again and "--probe-seconds" not in again


def test_only_the_commands_own_flags_are_left_out():
    words = [
        "x",
        "--measure",
        "--lr",
        "1",
        "--trials",
        "2",
        "--json",
        "--trial_seconds=3",
        "--env-kwargs",
        "a=1",
        "b=2",
    ]
    assert _without_own(words) == ["x", "--lr", "1", "--env-kwargs", "a=1", "b=2"]


@pytest.mark.slow
def test_auto_is_recorded_and_a_resumed_run_keeps_it(measured, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["train", *SMALL, "--auto", "--env-steps", "600", "--num-splits", "2", "--run-dir", str(run)]
    words += ["--final-eval-episodes", "0"]
    assert cli.main(words) == 0
    assert "chosen: " in capsys.readouterr().out
    first = read_config(run / "config.json")
    assert first.num_splits == 2 and first.num_workers > 0 and first.learner_threads == 1
    assert (first.env_steps, first.hp.hidden, first.rollout) == (600, (8,), 8)
    resume(run, env_steps=json.loads((run / "summary.json").read_text())["env_steps"] + 100)
    after = read_config(run / "config.json")
    assert {name: getattr(after, name) for name in TUNED} == {name: getattr(first, name) for name in TUNED}


@pytest.mark.slow
def test_a_real_choice_trains(capsys):
    words = [*SMALL, "--probe-seconds", "2", "--measure", "--trials", "2", "--trial-seconds", "2", "--json"]
    assert cli.main(["tune", *words]) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert len(data["trials"]) == 2 and err.count("training for 2 s") == 2
    assert all(trial["agent_steps_per_second"] > 0 for trial in data["trials"])
