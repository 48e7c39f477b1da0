"""Actors as TorchScript or ONNX files, each compared with the policy that `load_policy` returns before it is kept."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sfmarl import __version__
from sfmarl.envs.codec import decode_actions
from sfmarl.errors import RunError, UsageError, nearest
from sfmarl.evaluation.policy import JointPolicy, build_actor, load_policy
from sfmarl.models import distributions
from sfmarl.results.exported_actor import ExportedActor, example_inputs
from sfmarl.specs import PolicySpec
from sfmarl.storage.durable import safe_name

Format = Literal["torchscript", "onnx"]
SUFFIXES: dict[Format, str] = {"torchscript": ".pt", "onnx": ".onnx"}

ROWS = 256
"""Rows that the exported actor is compared on."""
TRACED_ROWS = 3
"""Another number of rows: the file must not depend on it."""
TOLERANCE = 1e-4
"""Largest difference that rounding explains, of log-probabilities or (relative beyond 1) of means."""

METADATA = "sfmarl.json"
"""Name of the description inside the file: a TorchScript extra file, an ONNX metadata property."""


@dataclass(frozen=True)
class Exported:
    """One policy in a file."""

    path: Path
    """The file."""
    policy: str
    """The policy's name."""
    about: dict[str, Any]
    """The description that lies inside the file: inputs, outputs, agents, spec, version."""
    difference: float
    """Largest difference from `load_policy` on ROWS random rows: of log-probabilities or means, and of rnn states."""
    equal_actions: int
    """Rows of ROWS with the same action (continuous: within TOLERANCE)."""

    def __str__(self) -> str:
        """Return a line for people."""
        arrows = " -> ".join(
            ", ".join(f"{name} {kind}" for name, kind in self.about[side].items()) for side in ("inputs", "outputs")
        )
        return (
            f"policy {self.policy}: {self.path}\n  {arrows}\n  beside load_policy on {ROWS} random rows: largest "
            f"difference {self.difference:.2g}, {self.equal_actions} actions equal"
        )


def export_run(
    run_dir: str | Path,
    format: Format,
    out: str | Path | None = None,
    policy: str | None = None,
    checkpoint: str = "best",
    imports: Sequence[str] | None = None,
    warn: Callable[[str], None] | None = None,
) -> list[Exported]:
    """Write the actors of a run or checkpoint as files that need no sfmarl, one per policy (or only `policy`).

    `out` is the file, default RUN/export/POLICY.pt or .onnx; of several policies each name is put before its suffix.
    `imports` are modules and files to import instead of those that the run names.
    The file appears once it gives the actions that `load_policy` gives on random rows.
    Raises UsageError for what cannot be exported (no such policy, ONNX not installed), RunError when
    the file cannot be written or does not agree.
    """
    run_dir = Path(run_dir)
    if format not in SUFFIXES:
        raise UsageError(f"format = {format!r} is unknown. Use {' or '.join(SUFFIXES)}.")
    if format == "onnx":
        _require_onnx()
    joint = load_policy(run_dir, checkpoint=checkpoint, imports=imports, warn=warn)
    names = joint.checkpoint.policy_names
    if policy is not None and policy not in names:
        raise UsageError(f"{run_dir} has no policy {policy!r}, only {', '.join(names)}.{nearest(policy, names)}")
    chosen = [policy] if policy is not None else list(names)
    exported = []
    for name in chosen:
        path = run_dir / "export" / f"{safe_name(name)}{SUFFIXES[format]}" if out is None else Path(out)
        if out is not None and len(chosen) > 1:
            path = path.with_name(f"{path.stem}-{safe_name(name)}{path.suffix}")
        exported.append(_export(joint, name, format, path))
    return exported


def _export(joint: JointPolicy, name: str, format: Format, path: Path) -> Exported:
    state = joint.checkpoint.read_policy(name)
    actor, spec = build_actor(state).eval().requires_grad_(False), state.spec
    model = ExportedActor(actor, spec)
    about = _describe(model, joint, name, state.policy_version)
    draft = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        (_write_torchscript if format == "torchscript" else _write_onnx)(model, draft, about)
        difference, equal = _compare(joint, name, spec, actor, _load(draft, format, model))
        os.replace(draft, path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}. Choose another --out.") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    return Exported(path, name, about, difference, equal)


def _describe(model: ExportedActor, joint: JointPolicy, name: str, version: int) -> dict[str, Any]:
    example = _example(model, 1)
    results = dict(zip(model.output_names(), model(**example), strict=True))
    described = [
        {
            key: f"{str(x.dtype).removeprefix('torch.')} {['B', *x.shape[1:]]}".replace("'", "")
            for key, x in side.items()
        }
        for side in (example, results)
    ]
    return {
        "sfmarl_version": __version__,
        "policy": name,
        "policy_version": version,
        "checkpoint": joint.checkpoint.path.name,
        "inputs": described[0],
        "outputs": described[1],
        "spec": model.spec.to_json(),
    }


def _example(model: ExportedActor, rows: int) -> dict[str, torch.Tensor]:
    inputs = example_inputs(model.spec, model.actor, rows, seed=1)
    return {name: torch.from_numpy(values) for name, values in inputs.items()}


def _write_torchscript(model: ExportedActor, path: Path, about: dict[str, Any]) -> None:
    with _silent():
        traced = torch.jit.trace(model, example_kwarg_inputs=_example(model, TRACED_ROWS), check_trace=False)
        torch.jit.save(traced, str(path), _extra_files={METADATA: json.dumps(about)})


def _write_onnx(model: ExportedActor, path: Path, about: dict[str, Any]) -> None:
    rows = torch.export.Dim("B", min=1)
    example = _example(model, TRACED_ROWS)
    with _silent():
        program = torch.onnx.export(
            model,
            kwargs=example,
            input_names=list(example),
            output_names=model.output_names(),
            dynamic_shapes={name: {0: rows} for name in example},
            dynamo=True,
            verbose=False,
        )
    program.model.metadata_props[METADATA] = json.dumps(about)
    program.save(str(path), external_data=False)


def _load(path: Path, format: Format, model: ExportedActor) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]]:
    """Return the file as a function from inputs to outputs."""
    if format == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda inputs: session.run(model.output_names(), inputs)
    with _silent():
        script = torch.jit.load(str(path))
    return lambda inputs: [x.numpy() for x in script(**{name: torch.from_numpy(x) for name, x in inputs.items()})]


def _compare(
    joint: JointPolicy,
    name: str,
    spec: PolicySpec,
    actor: Any,
    run: Callable[[dict[str, np.ndarray]], list[np.ndarray]],
) -> tuple[float, int]:
    """Return (largest difference, equal actions) of an exported actor beside the policy that evaluations use.

    Raises RunError when they differ by more than rounding.
    """
    inputs = example_inputs(spec, actor, ROWS, seed=2)
    team = next((team for team, seat in joint.checkpoint.teams.items() if seat.policy == name), None)
    if team is None:
        raise RunError(f"Policy {name!r} of {joint.checkpoint.path} plays no team, so that nothing says what it does.")
    # one row per lane of one agent, as load_policy acts
    rows = {key: value[:, None] for key, value in inputs.items()}
    state = torch.from_numpy(rows["rnn_state"].copy()) if actor.state_size else None
    stored, log_prob = joint.by_team[team].act(
        rows["obs"], rows.get("action_mask"), rows.get("agent_index"), True, state, rows.get("is_first")
    )
    stored, log_prob = stored.copy(), log_prob[:, 0].copy()
    taken, params, *after = run(inputs)
    expected = _flat(decode_actions(spec.action, stored), ROWS)
    same = np.isclose(_flat(taken, ROWS), expected, rtol=TOLERANCE, atol=TOLERANCE).all(axis=1)
    if spec.action.kind == "continuous":
        off = np.abs(params - stored[:, 0]) / np.maximum(1.0, np.abs(stored[:, 0]))
        right = same
    else:
        mask = torch.from_numpy(inputs["action_mask"]) if spec.has_mask else None
        logits = torch.from_numpy(params)
        best = distributions.mode(spec.action, logits, mask)
        own = distributions.log_prob(spec.action, logits, best, mask).numpy()
        of_expected = distributions.log_prob(spec.action, logits, torch.from_numpy(stored[:, 0]), mask).numpy()
        off = np.abs(of_expected - log_prob)
        # where two actions are equally probable, rounding decides which of them is taken
        is_best = (_flat(taken, ROWS) == _flat(decode_actions(spec.action, best[:, None].numpy()), ROWS)).all(axis=1)
        right = same | (is_best & (own - of_expected <= 2 * TOLERANCE))
    difference = float(off.max())
    if state is not None:
        difference = max(difference, float(np.abs(after[0] - state[:, 0].numpy()).max()))
    if not difference <= TOLERANCE or not right.all():
        raise RunError(
            f"the exported actor of policy {name!r} does not agree with load_policy (largest difference "
            f"{difference:.2g}, {same.sum()} of {ROWS} actions equal), so no file was written. This is a defect of the "
            "export: please report it with the run's config.json."
        )
    return difference, int(same.sum())


def _flat(actions: Any, rows: int) -> np.ndarray:
    """Return actions of any nesting as float64 [rows, ...]."""
    if isinstance(actions, np.ndarray) or not isinstance(actions[0][0], (dict, tuple)):
        return np.asarray(actions, np.float64).reshape(rows, -1)
    return np.array([np.concatenate([np.ravel(x) for x in _leaves(row[0])]) for row in actions], np.float64)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)
    else:
        yield value


def _require_onnx() -> None:
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--format onnx needs {', '.join(missing)}: pip install 'sfmarl[export]'. TorchScript needs nothing more."
        )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Swallow what the exporters say about their progress, their own deprecations, and sizes that are constant here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
