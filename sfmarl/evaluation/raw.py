"""Raw PettingZoo observations as they are stored in training, read without the environment where that is possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sfmarl.envs.codec import MASK_KEY, CodecError, ObsCodec, write_masks
from sfmarl.envs.leaves import all_finite
from sfmarl.envs.registry import probe_env
from sfmarl.errors import UsageError
from sfmarl.specs import AgentId, PolicySpec
from sfmarl.storage.config_file import read_config


class StoredRow(NamedTuple):
    """One agent's observation as the policy reads it."""

    obs: np.ndarray
    """[*obs], stored dtype."""
    action_mask: np.ndarray | None
    """[n] bool; None when the policy takes none."""


class RawObservations:
    """Reads raw observations. An array of the stored shape is taken as it is; for every other space (Discrete, Dict,
    Tuple, ...) the environment named in the run's `config.json` is built once, to learn how the space is flattened.

    Building it imports the code that the run directory names and runs it: such observations must only be read for run
    directories that are trusted to name code. Arrays of the stored shape never lead there.
    """

    def __init__(self, config_path: Path, imports: Sequence[str] | None = None) -> None:
        """`imports` are imported instead of what `config.json` names."""
        self._config_path, self._imports = config_path, imports
        self._codecs: dict[str, ObsCodec] | None = None

    def read(self, spec: PolicySpec, team: str, agent: AgentId, raw: Any, action_mask: Any = None) -> StoredRow:
        """Return one raw observation of `agent`, with the mask in it or `action_mask`, as the policy reads it.

        Raises UsageError that names what was expected and what came.
        """
        plain = raw
        if spec.has_mask and isinstance(raw, Mapping) and MASK_KEY in raw:
            if action_mask is None:
                action_mask = raw[MASK_KEY]
            rest = [key for key in raw if key != MASK_KEY]
            plain = raw[rest[0]] if len(rest) == 1 else None
        obs = _as_stored(spec, plain)
        if obs is None:
            obs = self._flattened(spec, team, agent, raw, plain)
        elif obs.dtype.kind == "f" and not all_finite(obs):
            raise UsageError(f"The observation of agent {agent!r} holds NaN or infinite numbers: {obs!r:.200}")
        return StoredRow(obs, _read_mask(spec, agent, action_mask))

    def _flattened(self, spec: PolicySpec, team: str, agent: AgentId, raw: Any, plain: Any) -> np.ndarray:
        expected = f"policy {spec.name!r} expects shape {spec.obs.shape} and dtype {spec.obs.dtype} of agent {agent!r}"
        got = (
            f"array of shape {plain.shape} and dtype {plain.dtype}"
            if isinstance(plain, np.ndarray)
            else f"{raw!r:.200}"
        )
        if self._codecs is None:
            try:
                self._codecs = load_codecs(self._config_path, self._imports)
            except UsageError as error:
                raise UsageError(
                    f"The observation does not fit: {expected}; got {got}. "
                    f"Whether it can be flattened to that is not known: {error}"
                ) from error
        try:
            return self._codecs[team].one(raw)
        except (CodecError, KeyError) as error:
            raise UsageError(f"The observation does not fit: {expected}; got {got}. ({error})") from error


def load_codecs(config_path: Path, imports: Sequence[str] | None = None) -> dict[str, ObsCodec]:
    """Return team -> codec of the environment in a run's `config.json`, which is built: the code it names is run.

    Raises UsageError when it cannot be built.
    """
    probe = probe_env(read_config(config_path, imports))
    if not probe.codecs:
        raise UsageError(f"{probe.spec.env} writes its observations itself: pass arrays of the stored shape.")
    return {team.name: codec.obs for team, codec in zip(probe.spec.teams, probe.codecs, strict=True)}


def _as_stored(spec: PolicySpec, plain: Any) -> np.ndarray | None:
    """Return the observation in the stored dtype if it is an array of the stored shape, else None."""
    try:
        array = np.asarray(plain)
    except ValueError:
        return None
    fits = array.dtype.kind in "biuf" and array.shape == spec.obs.shape
    if not fits or not np.can_cast(array.dtype, spec.obs.dtype, "same_kind"):
        return None
    return array.astype(spec.obs.dtype)


def _read_mask(spec: PolicySpec, agent: AgentId, raw: Any) -> np.ndarray | None:
    if not spec.has_mask:
        if raw is not None:
            raise UsageError(f"Policy {spec.name!r} was trained without action masks; agent {agent!r} was given one.")
        return None
    if raw is None:
        raise UsageError(
            f"Policy {spec.name!r} was trained with action masks: pass action_mask for agent {agent!r} "
            f"({spec.action.mask_size} entries, 1 = legal)."
        )
    mask = np.empty((1, spec.action.mask_size), bool)
    try:
        write_masks([raw], mask, spec.action)
    except CodecError as error:
        raise UsageError(f"The action mask of agent {agent!r} does not fit: {error}.") from error
    return mask[0]
