"""Reports of the comparison with peers: errors that become rows, ratios, seconds to a score."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import pytest

NO_PEER = "a machine without that peer"


def test_a_peer_that_fails_is_a_row_and_the_rest_goes_on(tmp_path: Path, monkeypatch, capsys):
    import compare_peers
    from peers.measuring import PeerFailed

    def run(name: str, *args: object) -> dict:
        if name != "sfmarl":
            raise PeerFailed(NO_PEER)
        return figures(1000.0)

    pieces = [
        compare_peers.Pieces(
            env=6000.0, forward_torch=6000.0, forward_product=12000.0, learn=6000.0, learn_product=9000.0
        )
    ] * 3
    monkeypatch.setattr(compare_peers, "run", run)
    monkeypatch.setattr(compare_peers, "ensure", lambda peer, venvs: raise_(PeerFailed(f"{peer}: {NO_PEER}")))
    monkeypatch.setattr(compare_peers.roofline, "measure", lambda *args: pieces)
    args = argparse.Namespace(
        results=tmp_path, only=["sfmarl", "sf", "rllib-ppo"], works=["B"], venvs=tmp_path, seconds=1.0, warm_up=1.0
    )

    compare_peers.compare(args)

    record = json.loads((tmp_path / "peers.json").read_text())
    rows = record["works"][0]["rows"]
    assert [row["title"] for row in rows] == ["sfmarl appo", "Sample Factory APPO", "RLlib PPO", "sfmarl appo, again"]
    assert [row.get("error") for row in rows] == [None, f"sample-factory: {NO_PEER}", f"rllib: {NO_PEER}", None]
    assert f"failed: rllib: {NO_PEER}" in capsys.readouterr().out
    assert f"failed: rllib: {NO_PEER}" in (tmp_path / "peers.md").read_text()
    assert (tmp_path / "peers.png").stat().st_size > 1000
    assert not (tmp_path / "peers.partial.json").exists()


def raise_(error: Exception) -> None:
    raise error


def figures(rate: float) -> dict:
    return {
        "agent_steps_per_second": rate,
        "windows": [rate * 0.9, rate, rate * 1.1],
        "learned_per_second": rate * 0.95,
        "cpu_percent": 190.0,
        "peak_memory_gib": 0.61,
        "first_update_seconds": 2.34,
    }


def test_ratios_are_to_the_median_over_both_measurements():
    import peers_report

    def row(system: str, title: str, rate: float) -> dict:
        return {"system": system, "title": title, "settings": {"workers": 2}, **figures(rate)}

    rows = [row("sfmarl", "sfmarl appo", 1000.0), row("sf", "SF", 250.0), row("sfmarl", "sfmarl appo, again", 1200.0)]
    work = {"letter": "B", "env": "games/dict", "roofline": 2000.0, "rows": rows}
    own = 1090.0  # the median of 900, 1000, 1100, 1080, 1200, 1320

    lines = peers_report.table(work).splitlines()

    assert peers_report.own_rate(work) == pytest.approx(own) and peers_report.drift(work) == pytest.approx(0.2)
    assert len({line.count("|") for line in lines}) == 1
    assert "| SF | 250 | 4.36 x | 12.5% | 238 | 190 % | 0.61 GiB | 2.3 s |" in lines
    assert peers_report.own_rate(work | {"rows": rows[1:2]}) is None
    assert "| SF | 250 | - | 12.5% |" in peers_report.table(work | {"rows": rows[1:2]})


def test_to_score_reads_its_arguments():
    import to_score

    own, settings = to_score.split(["--score", "-35", "--", "--epochs", "4", "--env-steps", "1000"])
    config = to_score.config_of(settings)

    assert own == ["--score", "-35"] and to_score.split(["--seeds", "1"]) == (["--seeds", "1"], [])
    assert (config.env, config.hp.epochs, config.env_steps, config.hp.lr) == ("native/simple_spread", 4, 1000, 1e-3)
    assert to_score.config_of([]).env_steps == 2_000_000


def test_to_score_reports_the_first_evaluation_that_reached_it():
    import to_score

    def run(seed: int, seconds: float | None) -> dict:
        return {"seed": seed, "seconds_to_score": seconds, "env_steps_to_score": seconds and 900_000,
                "env_steps": 950_000, "seconds_of_all": 50.0,
                "final": {"agent": {"mean": -27.0, "half_width": 1.5}}}  # fmt: skip

    # 2.7M agent-steps: 20 s to the first 6,000 of them, and 9,000 a second from there
    peer = {"system": "SF", "first_update_seconds": 20.0, "agent_steps_per_second": 9_000.0, "batch": 6_000}
    record = {"score": -30.0, "settings": {"env_steps": 2_000_000}, "peer": peer}
    text = to_score.table(record | {"runs": [run(1, 20.0), run(2, 40.0), run(3, 25.0)]})
    assert "| sfmarl, seed 2 | 40.0 | 900,000 | 319.3 | 8.0 | 50.0 | 950,000 | -27.0 ± 1.5 |" in text
    assert "3 of 3 seeds" in text and "the median of their ratios is 12.8" in text
    assert "2 of 3 seeds" in to_score.table(record | {"runs": [run(1, 20.0), run(2, None), run(3, 25.0)]})
    failed = to_score.table(record | {"runs": [run(1, 20.0)], "peer": {"error": NO_PEER}})
    assert f"failed: {NO_PEER}" in failed and "ratios" not in failed


def test_to_score_trains_until_it_is_reached():
    import to_score

    config = to_score.config_of(["--env-steps", "3000", "--eval-env-steps", "1000", "--eval-episodes", "4", "--mode",
                                 "serial", "--num-workers", "1", "--num-envs-per-worker", "16", "--epochs", "1",
                                 "--final-eval-episodes", "4"])  # fmt: skip
    found = to_score.to_score(config, score=-1000.0, began=time.time() - 2)

    assert 2 < found["seconds_to_score"] <= found["evaluations"][-1][0]
    assert 1000 <= found["env_steps_to_score"] <= 3000 + 16
    assert found["final"]["agent"]["mean"] < 0 < found["seconds_of_all"]
