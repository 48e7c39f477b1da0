"""Comparing runs: curves, grouping, the table, the picture, and directories that are no runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sfmarl.command.cli import main
from sfmarl.errors import UsageError
from sfmarl.results.compare import compare_runs
from sfmarl.results.curves import curve_of, mean_curve
from sfmarl.results.figure import Panel, save_figure
from sfmarl.statistics import mean_interval


def write_run(path: Path, seed: int, scores: list[float], *, finished: bool = True, **settings) -> Path:
    """Write what a run leaves behind: an evaluation and a training return every 100 env-steps."""
    path.mkdir(parents=True)
    hp = {"lr": settings.pop("lr", 1e-3), "gamma": 0.9}
    data = {"env": "games/climbing", "env_kwargs": {}, "algo": "ippo", "seed": seed, "hp": hp, "env_steps": 500}
    (path / "config.json").write_text(json.dumps({**data, "run_dir": str(path), **settings}))
    records = [
        {"time": 0.0, "env_steps": 100 * (i + 1), "agent_steps": 1, "wall_seconds": 10.0 * (i + 1) + seed,
         "episode/return_team/agent": score - 1.0, "eval/return_team/agent": score, "eval/episodes": 8.0}
        for i, score in enumerate(scores)
    ]  # fmt: skip
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if finished:
        (path / "summary.json").write_text(json.dumps({"stopped_by": "finished"}))
    return path


def compared(*named):
    said: list[str] = []
    return compare_runs([(None, n) if isinstance(n, Path) else n for n in named], said.append), said


def test_a_curve_is_in_order_and_without_gaps():
    records = [{"env_steps": 3, "a": 1.0}, {"env_steps": 5}, {"env_steps": 1, "a": 2.0}, {"env_steps": 6, "a": None}]
    assert curve_of(records, "a").tolist() == [[1, 2], [3, 1]]
    assert curve_of(records, "b").shape == (0, 2)


def test_the_mean_curve_is_the_mean_of_interpolated_runs_on_their_common_range():
    left, right = np.array([[0, 0], [10, 10.0]]), np.array([[2, 4], [6, 8], [12, 2.0]])
    mean = mean_curve([left, right, np.array([[5, 5.0]])])
    assert (mean.x[0], mean.x[-1]) == (2, 10)
    at = np.argmin(np.abs(mean.x - 6))
    x = mean.x[at]
    pair = [x, 8 - (x - 6) if x > 6 else 4 + (x - 2)]
    assert mean.mean[at] == pytest.approx(np.mean(pair))
    expected = stats.t.interval(0.95, 1, loc=np.mean(pair), scale=stats.sem(pair))
    assert mean.half_width[at] == pytest.approx((expected[1] - expected[0]) / 2)
    assert np.isnan(mean_curve([left]).half_width).all()
    assert mean_curve([left, left + np.array([20, 0])]) is None
    assert mean_curve([]) is None


def test_runs_that_differ_in_their_seed_alone_are_one_group(tmp_path):
    runs = [write_run(tmp_path / f"a{n}", n, [1.0, 2.0, 3.0 + n]) for n in (1, 2, 3)]
    other = write_run(tmp_path / "b", 1, [5.0, 6.0], lr=0.5)
    comparison, said = compared(*runs, other)
    assert list(comparison.groups) == ["ippo lr=0.001", "ippo lr=0.5"]
    assert comparison.scores("ippo lr=0.001", "agent") == [4, 5, 6]
    assert comparison.late_returns("ippo lr=0.001", "agent") == [3, 4, 5]
    assert str(mean_interval([4, 5, 6])) in str(comparison).splitlines()[2]
    data = comparison.to_json()["ippo lr=0.001"]
    assert (data["seeds"], data["env_steps_median"], data["teams"]["agent"]["scores"]) == ([1, 2, 3], 300, [4, 5, 6])
    assert said == comparison.warnings() == []
    assert list(compared(*runs)[0].groups) == ["ippo"]


def test_labels_group_what_they_name(tmp_path):
    a, b = write_run(tmp_path / "a", 1, [1.0]), write_run(tmp_path / "b", 1, [2.0], lr=0.5, env="games/penalty")
    comparison, _ = compared(("mine", a), ("mine", b))
    assert {label: len(runs) for label, runs in comparison.groups.items()} == {"mine": 2}
    warnings = "\n".join(comparison.warnings())
    assert "different environments" in warnings and "the same seed (1, 1)" in warnings


def test_a_run_that_goes_on_is_compared_and_said_to(tmp_path):
    going = write_run(tmp_path / "a", 1, [1.0, 2.0], finished=False)
    assert f"not finished yet: {going}" in compared(going)[0].warnings()[0]


def test_damaged_lines_are_left_out_and_told(tmp_path):
    run = write_run(tmp_path / "a", 1, [1.0, 2.0])
    with open(run / "metrics.jsonl", "ab") as file:
        file.write(b'{"env_steps": 300, "wall_seconds": 3, "eval/return_team/agent": "high"}\n[1]\n\xff\n{"env_st')
    comparison, said = compared(run)
    assert comparison.scores("ippo", "agent") == [2.0]
    assert said == [f"{run / 'metrics.jsonl'}: 4 damaged lines are left out."]


def test_what_is_no_run_is_refused_in_words(tmp_path):
    run = write_run(tmp_path / "first", 1, [1.0])
    with pytest.raises(UsageError, match=r"there is no run .*frst\. Did you mean 'first'"):
        compared(tmp_path / "frst")
    with pytest.raises(
        UsageError, match=r"neither a run directory nor a series.*It holds runs: name them, e\.g\. .*first"
    ):
        compared(tmp_path)
    with pytest.raises(UsageError, match="is named twice"):
        compared(run, ("x", tmp_path / "." / "first"))
    with pytest.raises(UsageError, match="nothing to compare"):
        compared()
    (run / "metrics.jsonl").write_text("nonsense\n")
    with pytest.raises(UsageError, match="has recorded nothing yet"):
        compared(run)
    (run / "metrics.jsonl").write_text('{"env_steps": 1, "wall_seconds": 1}\n')
    with pytest.raises(UsageError, match="no episode's return yet"):
        compared(run)
    for text, expected in (("{", "cannot be read"), ("{}", "not a settings file")):
        (run / "config.json").write_text(text)
        with pytest.raises(UsageError, match=expected):
            compared(run)


def test_the_command_writes_table_picture_and_tensorboard_image(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for n in (1, 2):
        write_run(tmp_path / f"a{n}", n, [1.0, 2.0, 3.0 * n])
    assert main(["compare", "small=a1", "large=a2", "--out", "out"]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "out/compare.txt").read_text().strip() in printed
    with Image.open(tmp_path / "out/compare.png") as image:
        size, colours = image.size, len(set(image.convert("RGB").getdata()))
    assert size[0] > 800 and colours > 50
    events = EventAccumulator(str(tmp_path / "out")).Reload()
    (shown,) = events.Images("compare")
    assert (shown.width, shown.height) == size
    assert shown.encoded_image_string == (tmp_path / "out/compare.png").read_bytes()
    assert set(json.loads((tmp_path / "out/compare.json").read_text())) == {"small", "large"}
    assert main(["compare", "small=nowhere"]) == 2
    assert capsys.readouterr().err.startswith("sfmarl: there is no run nowhere.")
    assert main(["compare", "a1", "--out", "a1/config.json"]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_an_equals_sign_in_a_path_is_part_of_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "lr=1", 1, [1.0])
    assert main(["compare", "lr=1", "--out", "out"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("ippo ")


def test_a_group_without_a_common_range_is_still_in_the_legend(tmp_path):
    from matplotlib import pyplot
    from matplotlib.axes import Axes

    drawn: list[str] = []
    genuine = Axes.plot

    def plot(self, *values, **how):
        drawn.append(how.get("label"))
        return genuine(self, *values, **how)

    Axes.plot = plot
    try:
        apart = [np.array([[0, 0], [1, 1.0]]), np.array([[5, 0], [6, 1.0]])]
        save_figure([[Panel("t", "x", "y", {"apart": apart, "none": []})]], tmp_path / "f.png", "title", (1.0, "gate"))
    finally:
        Axes.plot = genuine
    assert drawn == ["apart", None]
    assert not pyplot.get_fignums()
