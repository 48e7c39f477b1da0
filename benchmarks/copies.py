"""How often an observation is copied on its way from the environment to the optimiser, counted in bytes.

    python benchmarks/copies.py
    python benchmarks/copies.py --image-size 42 --env-steps 2000

Trains serially on 84 x 84 x 4 bytes and counts every byte that NumPy or torch writes into memory of whole
observations: assignments and calls into NumPy arrays that hold them, and the results and in-place writes of torch
operators. Serial mode runs the same components as processes do, on the same shared segment. Nothing is taken from
reading the code: a place is the innermost line of the package on the call stack. Bytes that stay bytes are copies;
bytes that become floats are a network's input (`converted`), which any convolution needs once per pass.

Figures are per valid agent-step. A slot of T steps holds T + 1 observations, so 1.03 is once (T = 32). The first
writing of an observation into its slot is not a copy: it is how an environment answers. Code that is handed raw
pointers is not seen. Results go to results/copies.json and .md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import sfmarl
from sfmarl import Config, train
from sfmarl.algorithms import get_algorithm
from sfmarl.memory.segment import Segment

HERE = Path(__file__).resolve().parent
PACKAGE = Path(sfmarl.__file__).resolve().parent
WRITING = "envs"
"""The package's folder whose writes are an environment's answer, not a copy of one."""
WRITERS = (np.copyto, np.concatenate, np.stack, np.take)
"""Functions of NumPy that write an array's elements elsewhere; views (`reshape`, `transpose`) are none."""


class Counts:
    """Bytes written by place: copies as (place, "copied"), bytes that became floats as (place, "converted")."""

    def __init__(self, obs_bytes: int) -> None:
        self.obs_bytes = obs_bytes
        self.bytes: Counter[tuple[str, str]] = Counter()

    def add(self, nbytes: int, what: str = "copied") -> None:
        """Count `nbytes` of observations written by the package's innermost line on the stack, if they are whole."""
        if nbytes and nbytes % self.obs_bytes == 0:
            self.bytes[_place(), what] += nbytes


def _place() -> str:
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.is_relative_to(PACKAGE):
            return f"{path.relative_to(PACKAGE)}:{frame.name}"
    return "elsewhere"


class Traced(np.ndarray):
    """An array of bytes whose writes are counted, and that passes itself on to whatever is made from it."""

    counts: Counts

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(index, value)
        if isinstance(value, np.ndarray):  # else rows are cleared
            target = np.ndarray.__getitem__(self, index)
            self.counts.add(target.nbytes if isinstance(target, np.ndarray) else 0)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if isinstance(found, np.ndarray) and not np.may_share_memory(found, self):
            self.counts.add(found.nbytes)
        return found

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        plain_args, plain_kwargs = _plain(args), _plain(kwargs)
        result = function(*plain_args, **plain_kwargs)
        target = plain_args[0] if function is np.copyto else result
        if isinstance(target, np.ndarray) and target.dtype == np.uint8 and function in WRITERS:
            self.counts.add(target.nbytes)
        return self._traced(result)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return self._traced(getattr(ufunc, method)(*_plain(inputs), **_plain(kwargs)))

    def fill(self, value: Any) -> None:
        """Not an observation: memory that is made ready."""
        self.view(np.ndarray).fill(value)

    def _traced(self, result: Any) -> Any:
        if isinstance(result, np.ndarray) and result.dtype == np.uint8:
            return result.view(type(self))
        return result


def _plain(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return type(x)(map(_plain, x))
    if isinstance(x, dict):
        return {name: _plain(value) for name, value in x.items()}
    return x.view(np.ndarray) if isinstance(x, Traced) else x


class TracedTorch(TorchDispatchMode):
    """Counts what torch operators write of whole observations."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self._counts = counts

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        read = [x for x in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if not any(x.dtype == torch.uint8 for x in read):
            return result
        owned = {x.untyped_storage().data_ptr() for x in read}
        in_place = function._schema.is_mutable
        for out in torch.utils._pytree.tree_leaves(result):
            if not isinstance(out, torch.Tensor) or out.numel() % self._counts.obs_bytes:
                continue
            if out.untyped_storage().data_ptr() in owned and not in_place:
                continue  # a view
            if out.dtype == torch.uint8:
                self._counts.add(out.nbytes)
            elif out.is_floating_point():
                self._counts.add(out.numel(), "converted")
        return result


@contextmanager
def counting(counts: Counts) -> Iterator[None]:
    """Count from now on: arrays of bytes out of shared memory or out of tensors are traced."""
    array, numpy = Segment.array, torch.Tensor.numpy
    kind = type("TracedHere", (Traced,), {"counts": counts})

    def traced(make: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            made = make(*args, **kwargs)
            return made.view(kind) if made.dtype == np.uint8 else made

        return wrapper

    Segment.array, torch.Tensor.numpy = traced(array), traced(numpy)
    try:
        with TracedTorch(counts):
            yield
    finally:
        Segment.array, torch.Tensor.numpy = array, numpy


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=84, help="side of the pictures, which have 4 channels")
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--env-steps", type=int, default=1024, help="length of the training")
    parser.add_argument("--algo", default="appo", help="preset; its epochs are set to 1")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where JSON and table go")
    args = parser.parse_args()
    record = {
        "command": " ".join(["python", "benchmarks/copies.py", *sys.argv[1:]]),
        "machine": machine.describe(),
        **measure(args.image_size, args.agents, args.env_steps, args.algo),
    }
    print(table(record))
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "copies.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.results / "copies.md").write_text(page(record))


def measure(image_size: int, agents: int, env_steps: int, algo: str) -> dict[str, Any]:
    """Return bytes by place of a serial training, with what it was."""
    hp = get_algorithm(algo).hyperparameters()
    hp.epochs, hp.minibatches, hp.target_kl = 1, 1, 0.0
    counts = Counts(image_size * image_size * 4)
    with tempfile.TemporaryDirectory() as folder, counting(counts):
        config = Config(
            env="native/dict",
            env_kwargs={"num_agents": agents, "image_size": image_size},
            algo=algo,
            hp=hp,
            mode="serial",
            env_steps=env_steps,
            num_workers=2,
            num_envs_per_worker=4,
            eval_env_steps=0,
            final_eval_episodes=0,
            quiet=True,
            run_dir=Path(folder) / "run",
        )
        summary = train(config).summary
    places = [
        {
            "place": place,
            "what": _kind(place, what),
            "bytes": total,
            "per_agent_step": total / counts.obs_bytes / summary["agent_steps"],
        }
        for (place, what), total in counts.bytes.most_common()
    ]
    return {
        "obs_bytes": counts.obs_bytes,
        "agent_steps": summary["agent_steps"],
        "rollout": config.rollout,
        "algo": algo,
        "places": places,
        "copies": sum(row["per_agent_step"] for row in places if row["what"] == "copied"),
    }


def _kind(place: str, what: str) -> str:
    return "written" if place.startswith(WRITING) and what == "copied" else what


def page(record: dict[str, Any]) -> str:
    """Return the report."""
    return "\n".join(
        [
            "# Copies of an observation",
            "",
            f"Bytes of observations ({record['obs_bytes']:,} each) that a serial training of {record['algo']} wrote in "
            f"{record['agent_steps']:,} valid agent-steps, and how many observations that is per agent-step. `written` "
            "is the environment's answer into its slot, `copied` a copy of it, `converted` a network's input made of "
            "it.",
            "",
            table(record),
            "",
            f"Slots have {record['rollout']} steps and hold {record['rollout'] + 1} observations. Machine: "
            f"{machine.sentence(record['machine'])}. Printed by `{record['command']}`; data in `copies.json`.",
            "",
        ]
    )


def table(record: dict[str, Any]) -> str:
    """Return places, most bytes first, and the sum of copies."""
    lines = ["| place | | bytes | per agent-step |", "|---|---|---|---|"]
    lines += [
        f"| `{row['place']}` | {row['what']} | {row['bytes']:,} | {row['per_agent_step']:.3f} |"
        for row in record["places"]
    ]
    return "\n".join([*lines, f"| **all copies** | copied | | **{record['copies']:.2f}** |"])


if __name__ == "__main__":
    main()
