"""One episode as an animated GIF."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from sfmarl.config import Config
from sfmarl.errors import RunError, UsageError
from sfmarl.evaluation.evaluator import Evaluator, Player

MAX_FRAMES = 2000
"""Longer episodes are cut."""

FRAME_MILLISECONDS = 100
"""Time each frame is shown; GIF counts in hundredths of a second."""


def write_gif(config: Config, players: Mapping[str, Player], path: Path, seed: int, greedy: bool = True) -> None:
    """Play one episode of the environment of `config` and write it to `path`: its beginning and a frame per env-step.

    What cannot render once its episode is over goes without the last one.

    Raises UsageError when the environment cannot render or `path` cannot be written.
    """
    evaluator = Evaluator(config, players, 1, seed, greedy, render_mode="rgb_array")
    frames: list[Image.Image] = []
    try:
        frames.append(_image(evaluator))
        while len(frames) < MAX_FRAMES and evaluator.run_once():
            frames.append(_image(evaluator))
        if evaluator.done:
            with suppress(UsageError):
                frames.append(_image(evaluator))
    finally:
        evaluator.close()
    try:
        frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=FRAME_MILLISECONDS, loop=0)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}. Choose another file for the GIF."
        ) from error


def _image(evaluator: Evaluator) -> Image.Image:
    try:
        frame = evaluator.frame()
    except RunError as error:
        raise UsageError(f"{evaluator.spec.env} cannot render, so there is no GIF: {error}") from error
    pixels = np.asarray(frame)
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise UsageError(
            f"{evaluator.spec.env} cannot render to pixels: render() returned {type(frame).__name__}, expected uint8 "
            "[height, width, 3]. Evaluate without a GIF."
        )
    return Image.fromarray(pixels)
