import dataclasses

import pytest

from sfmarl.algorithms import registry
from sfmarl.algorithms.ppo import PPO, Hyperparameters
from sfmarl.errors import UsageError


def test_presets_set_the_three_switches():
    switches = {}
    for entry in registry.list_algorithms():
        hp = entry.hyperparameters()
        switches[entry.name] = (hp.critic, hp.returns, hp.surrogate)
        assert entry.cls is PPO
        assert isinstance(hp, entry.cls.Hyperparameters)
        assert hp is not entry.hyperparameters()
    assert switches == {
        "ippo": ("own", "vtrace", "clip"),
        "mappo": ("state", "vtrace", "clip"),
        "appo": ("own", "vtrace", "clip"),
        "a2c": ("own", "nstep", "pg"),
    }


def test_descriptions_tell_ippo_and_appo_apart_by_what_differs():
    ippo, appo = (registry.get_algorithm(name) for name in ("ippo", "appo"))
    ours, theirs = dataclasses.asdict(ippo.hyperparameters()), dataclasses.asdict(appo.hyperparameters())
    assert {name for name in ours if ours[name] != theirs[name]} == {"epochs"}
    described = dict(registry.ALGORITHMS.entries())
    assert "V-trace" in described["ippo"]
    assert f"{ours['epochs']} epochs" in described["ippo"]
    assert f"{theirs['epochs']} epochs" in described["appo"]


def test_layers_given_as_a_list_become_a_tuple():
    assert Hyperparameters(hidden=[32, 16]).hidden == (32, 16)


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'mappo'"):
        registry.get_algorithm("mapo")


def test_users_register_their_own_and_leave_the_presets_alone(monkeypatch):
    monkeypatch.setattr(registry.ALGORITHMS, "_values", dict(registry.ALGORITHMS))
    registry.register_algorithm("mine", PPO, "for the test", lambda: Hyperparameters(lr=0.5))
    registry.register_algorithm("mine", PPO, "for the test", lambda: Hyperparameters(lr=0.25))
    assert registry.get_algorithm("mine").cls is PPO
    assert registry.get_algorithm("mine").hyperparameters().lr == 0.25
    with pytest.raises(UsageError, match="registered already"):
        registry.register_algorithm("ippo", PPO, "with other settings", Hyperparameters)
    registry.register_algorithm("plain", PPO)
    assert registry.get_algorithm("plain").hyperparameters() == Hyperparameters()
    assert registry.ALGORITHMS.entries()[-1] == (
        "plain",
        "One policy's actor, critic and update (see the module's head).",
    )


@pytest.mark.parametrize(
    "bad",
    [
        {"gamma": 1.5},
        {"gamma": "high"},
        {"lr": -1.0},
        {"lr": True},
        {"epochs": 0},
        {"epochs": 4.0},
        {"epochs": True},
        {"minibatches": 0},
        {"n_step": 2.5},
        {"clip": float("nan")},
        {"hidden": 64},
        {"hidden": ()},
        {"hidden": "64"},
        {"hidden": (64.0, 64)},
        {"hidden": (64, 0)},
        {"hidden": (True,)},
        {"hidden": None},
    ],
)
def test_impossible_hyperparameters_are_refused(bad):
    with pytest.raises(UsageError, match=next(iter(bad))):
        Hyperparameters(**bad)
