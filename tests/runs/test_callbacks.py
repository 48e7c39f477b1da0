"""Callbacks in whole runs: what they are told, what they may ask, and what happens when one raises."""

from __future__ import annotations

import json
from importlib import import_module
from typing import ClassVar

import pytest
from small import children, config

import sfmarl
from sfmarl.command.launching import guarded, train_in_run_dir
from sfmarl.errors import RunError, UsageError
from sfmarl.monitor.metrics import USER_METRICS, describe, register_metric
from sfmarl.run.callbacks import CALLBACKS, Callbacks, register_callback
from sfmarl.run.runner import resume, train
from sfmarl.storage.checkpoint import checkpoint_paths, latest

HERE = "tests.runs.test_callbacks"
HOOKS = ("on_start", "on_record", "on_update", "on_episodes", "on_checkpoint", "on_evaluation", "on_end")


class Witness(sfmarl.Callback):
    """Keeps everything it is told."""

    latest: ClassVar[Witness | None] = None

    def __init__(self, **kwargs):
        self.told, self.kwargs = [], kwargs
        Witness.latest = self

    def calls(self, hook):
        return [args for name, *args in self.told if name == hook]

    def on_start(self, run):
        assert run is self.run and run.env_steps >= 0 and run.run_dir.is_dir()
        self.told.append(("on_start", run))

    def on_record(self, scalars):
        self.told.append(("on_record", dict(scalars)))
        return {"seen": len(self.told), "custom/direct": 1, "test/known": 2.0, "episode/length": -1}

    def on_update(self, policy, metrics):
        self.told.append(("on_update", policy, metrics))

    def on_episodes(self, episodes):
        self.told.append(("on_episodes", episodes))

    def on_checkpoint(self, path):
        assert (path / "manifest.json").is_file()
        self.told.append(("on_checkpoint", path))

    def on_evaluation(self, evaluation):
        self.told.append(("on_evaluation", evaluation))
        return {"gap": 250 - evaluation.score}

    def on_end(self, summary):
        assert json.loads((self.run.run_dir / "summary.json").read_text()) == summary
        self.told.append(("on_end", summary))


class Stops(sfmarl.Callback):
    """Asks for an end."""

    def __init__(self, hook="on_update"):
        setattr(self, hook, lambda *_: self.run.stop("enough") or self.run.stop("more than enough"))


class Raises(sfmarl.Callback):
    """Raises in one hook, and remembers all that were called."""

    calls: ClassVar[list[str]] = []

    def __init__(self, hook):
        self.calls.clear()
        for name in HOOKS:
            setattr(self, name, lambda *_, name=name: self.calls.append(name))

        def fail(*_):
            self.calls.append(hook)
            raise ZeroDivisionError("the plot is empty")

        setattr(self, hook, fail)


class Typo(sfmarl.Callback):
    """Returns a word where a number belongs."""

    def on_record(self, scalars):
        return {"word": "high"}


def no_callback():
    return object()


@pytest.fixture(autouse=True)
def own_names(monkeypatch):
    monkeypatch.setattr(CALLBACKS, "_values", {})
    monkeypatch.setattr(USER_METRICS, "_values", {})


def serial(run_dir, *callbacks, **settings):
    defaults = {"mode": "serial", "env_steps": 2000, "eval_env_steps": 800, "eval_episodes": 4, "log_seconds": 0.05}
    return config(run_dir, callbacks=callbacks, **{**defaults, "final_eval_episodes": 6, **settings})


def test_every_hook_is_told(tmp_path):
    register_callback("witness", Witness)
    register_metric("test/known", description="documented", unit="s")
    result = train(serial(tmp_path / "run", "witness?depth=3&name=x"))
    witness = Witness.latest
    assert witness.kwargs == {"depth": 3, "name": "x"}
    ((run,),) = witness.calls("on_start")
    assert (
        run.env.num_agents == 2 and run.config.env == "games/climbing" and run.env_steps == result.summary["env_steps"]
    )
    assert [policy for policy, _ in witness.calls("on_update")] and all(
        {"loss_policy", "lag_mean"} <= set(metrics) for _, metrics in witness.calls("on_update")
    )
    episodes = [told for (told,) in witness.calls("on_episodes")]
    assert sum(len(told.lengths) for told in episodes) == result.summary["episodes"] > 20
    assert episodes[0].returns_of("agent").shape == (len(episodes[0].lengths), 2)
    assert witness.calls("on_checkpoint")[-1] == [checkpoint_paths(tmp_path / "run")[0]]
    scores = [evaluation for (evaluation,) in witness.calls("on_evaluation")]
    assert [score.episodes for score in scores] == [4, 4, 6]
    assert witness.calls("on_end") == [[result.summary]]

    records = [line for line in result.metrics() if "custom/seen" in line]
    assert len(records) == len(witness.calls("on_record")) > 2
    assert all(
        (line["custom/direct"], line["test/known"], line["custom/episode/length"]) == (1, 2, -1) for line in records
    )
    assert {line["episode/length"] for line in records if "episode/length" in line} == {25}
    gaps = [line["custom/gap"] for line in result.metrics() if "eval/episodes" in line]
    assert gaps == [250 - score.score for score in scores]
    assert describe("test/known").unit == "s" and describe("custom/seen") is not None


@pytest.mark.parametrize("hook", ["on_start", "on_update", "on_evaluation"])
def test_a_callback_ends_the_run_in_order(tmp_path, hook):
    result = train(serial(tmp_path / "run", f"{HERE}:Stops?hook={hook}", env_steps=10**6))
    assert result.summary["stopped_by"] == "stopped by a callback: enough"
    assert result.summary["evaluation"]["episodes"] == 6 and result.summary["env_steps"] < 10_000
    resumed = resume(tmp_path / "run", callbacks=(), env_steps=result.summary["env_steps"] + 400)
    assert resumed.summary["stopped_by"] == "finished"


@pytest.mark.parametrize("hook", HOOKS)
def test_a_callback_that_raises_ends_the_run_with_a_checkpoint(tmp_path, hook):
    run_dir = tmp_path / "run"
    with pytest.raises(RunError) as caught:
        train(serial(run_dir, f"{HERE}:Raises?hook={hook}"))
    message = str(caught.value)
    assert f"Raises?hook={hook}' raised ZeroDivisionError in {hook}: the plot is empty." in message
    assert message.endswith(f"The traceback is in {run_dir / 'crash.txt'}.")
    crash = (run_dir / "crash.txt").read_text()
    assert "in fail" in crash and "ZeroDivisionError: the plot is empty" in crash
    # the run imported this module by its full name: that is another class than the one here
    raises = import_module(HERE).Raises
    assert raises.calls[-1] == hook, "nobody is called after the first exception"
    if hook != "on_start":
        assert latest(run_dir).run_state["env_steps"] >= 0
    if hook == "on_update":
        assert latest(run_dir).run_state["env_steps"] > 0, "what was learned is saved"


def test_between_processes_it_is_one_message_and_exit_1(tmp_path, capsys):
    settings = config(tmp_path / "run", callbacks=(f"{HERE}:Raises?hook=on_update",), env_steps=10**6, log_seconds=0.2)
    assert guarded(lambda words: train_in_run_dir(settings), []) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "on_update" in told[0] and "crash.txt" in told[1]
    assert latest(tmp_path / "run").run_state["env_steps"] > 0
    assert not children("")


def test_what_is_no_number_is_an_error_of_the_callback(tmp_path):
    with pytest.raises(RunError, match=r"raised ValueError in on_record: .*'high'"):
        train(serial(tmp_path / "run", f"{HERE}:Typo"))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("nobody", ["no callback named 'nobody'"]),
        (f"{HERE}:Stops?hok=on_end", ["could not be built", "hok"]),
        (f"{HERE}:no_callback", ["derive it from sfmarl.Callback"]),
        (f"{HERE}:Stop", ["has no 'Stop'", "'Stops'"]),
        ("witness?x", ["key=value"]),
    ],
)
def test_a_setting_that_is_no_callback_starts_nothing(tmp_path, setting, words):
    with pytest.raises(UsageError) as caught:
        train(serial(tmp_path / "run", setting))
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_without_callbacks_nothing_is_called():
    callbacks = Callbacks(())
    assert callbacks.record({"a": 1.0}) == {}
    callbacks.end({})
