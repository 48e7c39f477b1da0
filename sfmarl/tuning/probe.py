"""Measuring an environment, its policies and this machine for some seconds.

Nothing is imitated: one rollout worker, one inference worker and the learners of the run itself take turns in a process
of their own, with 4, 32, ... environments. What is computed is told from what is waited for, so that other programs on
the machine, or an environment that sleeps, do not pass for work.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter, process_time
from typing import Any

import psutil
import torch

from sfmarl.config import Config
from sfmarl.errors import RunError, SfmarlError
from sfmarl.memory.plane import DataPlane
from sfmarl.memory.queues import LocalQueue
from sfmarl.run.build import build_inference, build_learner, publish_frozen
from sfmarl.run.build_rollout import build_rollout
from sfmarl.run.fork_server import fork_server
from sfmarl.run.plan import RunPlan, make_plan
from sfmarl.run.processes import end_with_parent
from sfmarl.specs import EnvSpec
from sfmarl.threads import use_threads
from sfmarl.tuning.figures import Curve, Figures
from sfmarl.tuning.wake import measure_wake_up
from sfmarl.user_code import import_user_code
from sfmarl.workers.rollout import AGENT_STEPS, ENV_STEPS, SPLIT_STEPS

SIZES = (4, 32, 128)
"""Numbers of environments that are stepped together; the later ones only if there is time."""
UPDATES = 4
"""Updates after which a size is known well enough."""
WARM_UP_SHARE = 0.4
"""Share of a size's time after which measuring begins even if no update was made."""


def measure(config: Config, env: EnvSpec, seconds: float) -> Figures:
    """Return the figures of `config`, whose device is resolved, on this machine; takes about `seconds`.

    Raises RunError when the environment fails, or UsageError as building the run's components does.
    """
    busy = psutil.cpu_percent(interval=0.3)
    cores = len(os.sched_getaffinity(0))
    wake = measure_wake_up()
    given = config.learner_threads
    thread_counts = tuple(sorted({1, given})) if given else learner_thread_counts(cores)
    context = fork_server()
    ours, theirs = context.Pipe()
    child = context.Process(
        target=_child, args=(config.imports, pickle.dumps((config, env)), thread_counts, seconds, theirs)
    )
    try:
        child.start()
        theirs.close()
        sizes = _answer(ours)
    finally:
        if child.pid is not None:
            child.kill()
            child.join()
        ours.close()
    return _figures(sizes, cores, busy, config.device, wake)


def learner_thread_counts(cores: int) -> tuple[int, ...]:
    """Return the numbers of torch threads a learner may have: one, two, and large parts of many cores."""
    return tuple(sorted({1, min(2, cores), max(1, cores // 4), max(1, cores // 2)}))


@dataclass
class Size:
    """What was measured with `envs` environments in one split and learners of so many torch threads."""

    envs: int
    threads: int
    passes: int = 0
    step_seconds: float = 0.0
    act_seconds: float = 0.0
    pauses: list[float] = field(default_factory=list)
    """Of each pass."""
    env_steps: int = 0
    agent_steps: int = 0
    update_seconds: dict[int, list[float]] = field(default_factory=dict)
    """Policy -> seconds of each update."""
    steps_between_updates: dict[int, list[int]] = field(default_factory=dict)
    """Policy -> env-steps from each update to the next."""
    slot_seconds: float = 0.0
    """Seconds from one update to the next, all included."""
    complete: bool = False
    """Every learner made an update."""


def _figures(sizes: Sequence[Size], cores: int, busy: float, device: str, wake: tuple[float, float]) -> Figures:
    alone = [size for size in sizes if size.threads == 1]

    def curve(seconds: Callable[[Size], float]) -> Curve:
        return Curve(tuple((size.envs, seconds(size)) for size in alone))

    learn: dict[int, tuple[Curve, ...]] = {}
    for threads in sorted({size.threads for size in sizes if size.complete}):
        known = [size for size in sizes if size.complete and size.threads == threads]
        learn[threads] = tuple(
            Curve(
                tuple(
                    (median(size.steps_between_updates[policy]), median(size.update_seconds[policy])) for size in known
                )
            )
            for policy in sorted(known[0].steps_between_updates)
        )
    last = alone[-1]
    return Figures(
        cores=cores,
        busy_percent=busy,
        device=device,
        agents=last.agent_steps / max(1, last.env_steps),
        step=curve(lambda size: size.step_seconds / size.passes),
        pause=curve(lambda size: median(size.pauses)),
        act=curve(lambda size: size.act_seconds / size.passes),
        learn=learn,
        wake_seconds=wake[0],
        wake_cpu_seconds=wake[1],
    )


# ------------------------------------------------------------------------------------------------ in the child


def _answer(pipe: Connection) -> list[Size]:
    try:
        kind, payload = pipe.recv()
    except EOFError:
        raise RunError(
            "the process that measured the environment was killed. Does `sfmarl check-env` come to its end?"
        ) from None
    if kind == "failed":
        raise payload
    return payload


def _child(imports: Sequence[str], sealed: bytes, threads: Sequence[int], seconds: float, pipe: Connection) -> None:
    end_with_parent()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what an environment prints is not part of the answer
            import_user_code(imports)
            config, env = pickle.loads(sealed)
            pipe.send(("measured", measure_sizes(config, env, threads, seconds)))
    except SfmarlError as error:
        pipe.send(("failed", error))
    except Exception as error:
        traceback.print_exc()
        pipe.send(("failed", RunError(f"measuring failed: {type(error).__name__}: {error}")))


def measure_sizes(config: Config, env: EnvSpec, threads: Sequence[int], seconds: float) -> list[Size]:
    """Return what was measured in this process with as many of SIZES, and `threads` of learners, as there is time for.

    The first size with one thread is always among it.
    """
    end, sizes = perf_counter() + seconds, []
    rounds = [(envs, count) for envs in SIZES for count in threads]
    for done, (envs, count) in enumerate(rounds):
        remaining = end - perf_counter()
        # an update before the clock starts and one that is measured
        if sizes and (not sizes[-1].complete or 2 * sizes[-1].slot_seconds * envs / sizes[-1].envs > remaining):
            break
        # what a small size leaves over is for the larger ones
        sizes.append(_measure_size(_plan_of(config, env, envs), count, remaining / (len(rounds) - done)))
    return sizes


def _plan_of(config: Config, env: EnvSpec, envs: int) -> RunPlan:
    """Return the run's plan with one worker, one split and `envs` environments, all of which make an update."""
    alone = {"num_workers": 1, "num_splits": 1, "num_envs_per_worker": envs, "batch_size": 0}
    placed = {"mode": "async", "inference": "worker", "num_inference_workers": 1, "device_weights": False}
    plan = make_plan(replace(config, **alone, **placed), env)
    lanes = tuple(plan.plane.lanes_of_policy(policy) for policy in range(plan.plane.policies))
    return replace(plan, batch_lanes=lanes)


def _measure_size(plan: RunPlan, threads: int, seconds: float) -> Size:
    def quiet(kind: str, payload: Any) -> None:
        pass

    plane = DataPlane.create(plan.plane)
    publish_frozen(plan, plane)
    counts = plane.words().counts["rollout"][0]
    undo = use_threads(threads)  # an algorithm looks at it when it is built
    learners = [build_learner(plan, plane, policy, None, 0, quiet) for policy in range(plan.plane.policies)]
    learners_threads = torch.get_num_threads()
    use_threads(1)
    inference = build_inference(plan, plane, 0, LocalQueue(), {0: LocalQueue()})
    inference.run_once(timeout=0)
    rollout = build_rollout(plan, plane, 0, LocalQueue(), LocalQueue(), quiet)
    size = Size(plan.config.num_envs_per_worker, threads)
    # work on a GPU is not this process's computing: what counts is how long its result takes
    act_clock = process_time if plan.device == "cpu" else perf_counter
    updated_at: list[tuple[int, float] | None] = [None] * len(learners)
    warm = False
    try:
        if plan.device != "cpu":  # its first pass loads kernels and captures graphs, which takes as long as hundreds
            rollout.run_once(timeout=0)
            inference.run_once(timeout=0)
        begin = perf_counter()
        while (now := perf_counter()) - begin < seconds and not _known(size, len(learners)):
            if not warm and (all(updated_at) or now - begin > WARM_UP_SHARE * seconds):
                warm, before = True, counts.copy()
            _timed_pass(rollout.run_once, counts, size if warm else None)
            before_act = act_clock()
            inference.run_once(timeout=0)
            if warm:
                size.act_seconds += act_clock() - before_act
            torch.set_num_threads(learners_threads)
            for policy, learner in enumerate(learners):
                _time_update(learner, policy, int(counts[ENV_STEPS]), updated_at, size, plan.device)
            torch.set_num_threads(1)
    finally:
        rollout.close()
        undo()
    size.complete = len(size.update_seconds) == len(learners)
    if warm:
        size.env_steps, size.agent_steps = (counts - before)[[ENV_STEPS, AGENT_STEPS]].tolist()
    if not size.passes:
        raise RunError(
            f"the environment made no step in {seconds:.1f} s, the time to measure it: give more with --probe-seconds."
        )
    return size


def _known(size: Size, policies: int) -> bool:
    updates = size.update_seconds
    return len(updates) == policies and all(len(times) >= UPDATES for times in updates.values())


def _timed_pass(run_once: Callable[..., None], counts: Any, size: Size | None) -> None:
    """Make one pass of the rollout worker; add it to `size` if it stepped the environments."""
    steps = counts[SPLIT_STEPS]
    usage = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    wall, computing = perf_counter(), process_time()
    run_once(timeout=0)
    wall, computing = perf_counter() - wall, process_time() - computing
    if size is None or counts[SPLIT_STEPS] == steps:
        return
    size.passes += 1
    size.step_seconds += computing
    # time without a core is the environment's own wait only if it gave the core away
    gave_away = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw > usage
    size.pauses.append(max(0.0, wall - computing) if gave_away else 0.0)


def _time_update(
    learner: Any,
    policy: int,
    env_steps: int,
    updated_at: list[tuple[int, float] | None],
    size: Size,
    device: str,
) -> None:
    """Let a learner make an update if it can; the first one, in which caches fill, is not counted."""
    clock = process_time if device == "cpu" and size.threads == 1 else perf_counter
    begin = clock()
    updated = learner.run_once(wait=False)
    spent = clock() - begin
    if not updated:
        return
    now = perf_counter()
    if (last := updated_at[policy]) is not None:
        size.update_seconds.setdefault(policy, []).append(spent)
        size.steps_between_updates.setdefault(policy, []).append(env_steps - last[0])
        size.slot_seconds = now - last[1]
    updated_at[policy] = (env_steps, now)
