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
    assert "V-trace" in ippo.description
    assert f"{ours['epochs']} epochs" in ippo.description
    assert f"{theirs['epochs']} epochs" in appo.description


def test_layers_given_as_a_list_become_a_tuple():
    assert Hyperparameters(hidden=[32, 16]).hidden == (32, 16)


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'mappo'"):
        registry.get_algorithm("mapo")


def test_users_register_their_own_once(monkeypatch):
    monkeypatch.setattr(registry, "_ALGORITHMS", dict(registry._ALGORITHMS))
    registry.register_algorithm("mine", PPO, Hyperparameters, "for the test")
    assert registry.get_algorithm("mine").cls is PPO
    with pytest.raises(UsageError, match="already registered"):
        registry.register_algorithm("ippo", PPO, Hyperparameters, "again")


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
