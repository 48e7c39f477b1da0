"""Mutations of what a user may write or a disk may hold: command lines, JSON values, bytes."""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
from collections.abc import Callable
from typing import Any

VALID = (
    ("train", "games/climbing", "--algo", "ippo", "--num-workers", "2", "--hidden", "16", "16"),
    ("train", "games/climbing", "--mode", "serial", "--seeds", "1", "2", "--stop-score", "10", "--lr", "1e-3"),
    ("train", "mpe2.simple_spread_v3", "--env-kwargs", "N=3", "max_cycles=25", "--actor-rnn", "gru"),
    ("train", "native/tic_tac_toe", "--algo", "appo", "--policies", "player_1=main", "player_2=main"),
    ("train", "native/simple_tag", "--algo", "ippo", "--players", 'agent={"script": "random"}', "--ring", "3"),
    ("train", "native/simple_tag", "--sharing", "none", "--teams", "each", "--algo", "a2c", "--reward", ""),
    ("train", "native/prisoners_dilemma", "--algo", "ippo", "--info-metrics", "cooperate:mean", "--death", "terminal"),
    ("league", "native/tic_tac_toe", "--matchmaker", "window?size=20&latest=.5", "--roles", "main=simple"),
    ("league", "native/tic_tac_toe", "--roles", "main=main", "other=main_exploiter", "--live-snapshots", "4"),
)
"""Command lines that are right; `--dry-run` comes after them."""

WORDS = (
    "", " ", "-", "--", "---", "-1", "0", "1", "2", "3", "7", "1.5", "-0.0", "1e-3", "1e999", "nan", "inf",
    "-inf", "99999999999999999999", "1000000", "2147483648", "true", "True", "None", "null", "[]", "{}",
    "[1,2]", '{"a":', '{"a": 1}', '{"agent_0": "x"}', '{"a": {"b": [null]}}', "a=b", "a=", "=b", "a=b=c", "a b",
    "auto", "each", "all", "cpu", "cuda", "cuda:99", "tpu", "mappo", "ippo", "gru", "random", "none", "full",
    "joint", "..", "../..", "/", "/dev/null", "/proc/self/mem", "runs/base", "runs/base:agent", "runs/nowhere",
    "precious.txt", "x" * 300, "x" * 5000, "\xfc\u4e16\u2028", "\udcff\udcfe", "a\nb", "%s%n", "$(touch x)",
    "`touch x`", "*", "os:getcwd", "sys", "json:loads?s=1", "module:callable", "games/climbing",
    "native/tic_tac_toe", "mpe2.simple_spread_v3", "pfsp?weighting=none", "uniform?x=1", "main=simple",
    "player_1=main", "agent=x", 'agent={"lr": -1}', 'agent={"frozen": "runs/base"}', 'agent={"algo": "x"}',
    "N=0", "N=-1",
)  # fmt: skip
"""What is put in the place of words."""

NUMBERS = ("0", "1", "2", "3", "4", "8", "64", "-1", "0.5", "1e-3", "1.0", "1000", "1000000", "1e9", "10000000000")
"""What most flags take, in and out of range."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 1.5, -0.0, 1e308, float("nan"), float("inf"), 10**30, "", "x", "auto", "../x", "/",
    "\x00", "\ud800", "x" * 1000, [], {}, [1], ["x"], [[[]]], {"x": 1}, {"": None}, [None], [True], {"agent": "x"}, "1",
    "nan", [-1], [1e9],
)  # fmt: skip
"""What is put in the place of JSON values."""


class Executed:
    """Unpickling it makes the directory `executed`."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def mutate_words(rng: random.Random, words: list[str], flags: list[str]) -> list[str]:
    """Return `words` after one to three mutations; `flags` are all there are."""
    words = list(words)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        place = rng.randrange(len(words))
        match rng.choice((0, 3, 4, 5, 5, 5, 6, 6, 7, 8)):
            case 0:
                words[place] = rng.choice(WORDS)
            case 3:
                del words[place]
                words = words or [""]
            case 4:
                words.insert(place, rng.choice(WORDS))
            case 5 | 6:
                flag, word = rng.choice(flags), rng.choice(NUMBERS if rng.random() < 0.6 else WORDS)
                words += [f"{flag}={word}"] if rng.random() < 0.3 else [flag, word]
            case 7:
                words[place] = _misspelt(rng, words[place])
            case 8:
                other = rng.randrange(len(words))
                words[place], words[other] = words[other], words[place]
    return words


def _misspelt(rng: random.Random, word: str) -> str:
    if not word:
        return "-"
    place = rng.randrange(len(word))
    return word[:place] + rng.choice(("", chr(rng.randrange(33, 127)), word[place] * 2)) + word[place + 1 :]


def mutate_json(rng: random.Random, value: Any) -> Any:
    """Return a copy of a JSON value in which one to three places are replaced, removed, renamed, added or nested."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return rng.choice(VALUES)
        parent, key = rng.choice(places)
        match rng.randrange(6):
            case 0:
                parent[key] = rng.choice(VALUES)
            case 1:
                parent[key] = rng.choice([value for value in VALUES if type(value) is type(parent[key])] or VALUES)
            case 2:
                del parent[key]
            case 3:
                parent[key] = [parent[key]] if rng.random() < 0.5 else {"x": parent[key]}
            case 4 if isinstance(parent, dict):
                parent[_misspelt(rng, key)] = parent.pop(key)
            case 5 if isinstance(parent[key], int | float):
                parent[key] = parent[key] * rng.choice((-1, 0, 0.5, 2, 1e6, 10**12))
            case _:
                from_parent, from_key = rng.choice(places)
                there = from_key in from_parent if isinstance(from_parent, dict) else from_key < len(from_parent)
                parent[key] = copy.deepcopy(from_parent[from_key]) if there else None
    return value


def _places(value: Any):
    """Yield (container, key) of every place inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return `data` damaged as disks, copies and strangers damage files."""
    if not data:
        return rng.randbytes(8)
    place = rng.randrange(len(data))
    length = rng.choice((1, 1, 7, 64, 4096))
    damages: tuple[Callable[[], bytes], ...] = (
        lambda: data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :],
        lambda: data[:place],
        lambda: b"",
        lambda: data[:place] + rng.randbytes(length) + data[place:],
        lambda: data[:place] + data[place + length :],
        lambda: data[:place] + b"\0" * len(data[place : place + length]) + data[place + length :],
        lambda: data + data[:length],
        lambda: rng.randbytes(min(len(data), 1 << 16)),
        lambda: pickle.dumps(Executed()),
        lambda: b"[" * 100_000,
    )
    return rng.choice(damages)()


def mutate_json_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return a JSON file's content mutated: as a value, or as any file."""
    if rng.random() < 0.25:
        return mutate_bytes(rng, data)
    return json.dumps(mutate_json(rng, json.loads(data))).encode("utf-8", "surrogatepass")
