"""Inference worker: one forward for all rows that wait for an action, per policy; one for all live snapshots together.

consumes  requests (words), woken by tickets on its queue
produces  actions, log-probabilities and versions in the slots, answers (words + a ticket per worker)
waits     for a request; never for a learner: it acts with the newest complete weights
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from sfmarl.memory.block import Block
from sfmarl.memory.queues import TicketQueue
from sfmarl.memory.seats import Scratch
from sfmarl.memory.words import INFERENCE_COUNTS, INFERENCE_TIMES, Words
from sfmarl.seeding import generator_state, restore_generator
from sfmarl.workers.policy_slots import BankSlot, PolicySlot
from sfmarl.workers.waiting import InBlock, InScratch, Where, waiting_rows

WAIT, WEIGHTS, GATHER, FORWARD, SCATTER = range(len(INFERENCE_TIMES))
FORWARDS, ROWS = range(len(INFERENCE_COUNTS))


class InferenceWorker:
    """Serves the rollout workers whose index is congruent to its own. `run_once` answers everything that is open."""

    def __init__(
        self,
        index: int,
        blocks: Sequence[Block],
        policies: Sequence[PolicySlot],
        words: Words,
        workers: Sequence[int],
        inbox: TicketQueue,
        outboxes: Mapping[int, TicketQueue],
        scratch: Sequence[Scratch] = (),
        frozen: Mapping[int, PolicySlot] | None = None,
        bank: BankSlot | None = None,
        turn_based: bool = False,
    ) -> None:
        """`workers` are the rollout workers it serves and `outboxes` their queues.

        `scratch` are their seats whose players do not learn. Of these players the first lie in the `bank`; `frozen` are
        others that are policies, by number; in a league a learning policy may be one of them.
        """
        self._policies = policies
        self._frozen = frozen or {}
        self._bank = bank
        self._in_bank = 0 if bank is None else bank.bank.capacity
        self._turn_based = turn_based
        self._words = words
        self._workers = np.asarray(workers, np.int64)
        self._inbox = inbox
        self._outboxes = outboxes
        self._progress = words.progress["inference"][index : index + 1]
        self._times = words.times["inference"][index]
        self._counts = words.counts["inference"][index]
        self._blocks: dict[tuple[int, int], list[Block]] = defaultdict(list)
        for block in blocks:
            self._blocks[block.spec.worker, block.spec.split].append(block)
        self._scratch: dict[tuple[int, int], list[Scratch]] = defaultdict(list)
        for seat in scratch:
            self._scratch[seat.spec.worker, seat.spec.split].append(seat)

    def run_once(self, timeout: float = 0.1) -> None:
        """Answer every open request; with none, wait up to `timeout` seconds for a ticket."""
        requests = self._open_requests()
        if not requests:
            begin = perf_counter()
            self._inbox.get_many(timeout)
            self._times[WAIT] += perf_counter() - begin
            requests = self._open_requests()
        if requests and self._answer(requests):
            self._progress += 1

    def generator_states(self) -> list[dict[str, Any]]:
        """Return where each policy's stream of actions is (`seeding.generator_state`)."""
        return [generator_state(slot.generator) for slot in self._slots()]

    def restore_generators(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from where an earlier run of the same policies was."""
        for slot, state in zip(self._slots(), states, strict=True):
            restore_generator(slot.generator, state)

    def _slots(self) -> list[PolicySlot | BankSlot]:
        """Return everybody who acts here, each once."""
        bank = () if self._bank is None else (self._bank,)
        return list(dict.fromkeys((*self._policies, *self._frozen.values(), *bank)))

    def _open_requests(self) -> list[tuple[int, int, int]]:
        """Return (worker, split, request number) of what is open, taking note of new generations first.

        A request of a past life is not answered: from the moment its worker's new generation is acknowledged, nothing
        is written for the old one, and only then does the new one begin.
        """
        words, workers = self._words, self._workers
        generation = words.generation[workers]
        words.acknowledged[workers] = generation
        requested = words.requested[workers]
        is_open = (requested != words.answered[workers]) & (words.request_generation[workers] == generation[:, None])
        return [
            (int(workers[i]), int(split), int(requested[i, split]))
            for i, split in zip(*np.nonzero(is_open), strict=True)
        ]

    def _answer(self, requests: Sequence[tuple[int, int, int]]) -> bool:
        begin = perf_counter()
        for policy in self._frozen.values():
            policy.refresh()
        if self._bank is not None:
            self._bank.refresh()
        if not all(policy.refresh() for policy in self._policies):
            self._inbox.get_many(0.001)
            return False
        loaded = perf_counter()
        self._times[WEIGHTS] += loaded - begin
        rows: dict[PolicySlot | BankSlot, list[Where]] = defaultdict(list)
        for worker, split, _ in requests:
            for block in self._blocks[worker, split]:
                if block.spec.lockstep or block.wants_action.any():
                    rows[self._policies[block.spec.policy]].append(InBlock(block))
            for seat in self._scratch[worker, split]:
                self._find_frozen(seat, rows)
        self._times[GATHER] += perf_counter() - loaded
        for policy, wheres in rows.items():
            self._act(policy, wheres)
        for worker, split, number in requests:
            self._words.answered[worker, split] = number
        for worker, split, _ in requests:
            self._outboxes[worker].put((worker, split, int(self._words.generation[worker])))
        return True

    def _find_frozen(self, seat: Scratch, rows: dict[PolicySlot | BankSlot, list[Where]]) -> None:
        """Add the rows of a seat that wait for a player who does not learn; scripts act where they sit."""
        waiting, player = waiting_rows(seat, self._turn_based)
        if not waiting.size:
            return
        in_bank = player < self._in_bank
        if np.count_nonzero(in_bank):
            rows[self._bank].append(InScratch(seat, waiting[in_bank], player[in_bank], self._turn_based))
            waiting, player = waiting[~in_bank], player[~in_bank]
        for guest in sorted(set(player.tolist()).intersection(self._frozen)):
            own = player == guest
            rows[self._frozen[guest]].append(InScratch(seat, waiting[own], player[own], self._turn_based))

    def _act(self, policy: PolicySlot | BankSlot, wheres: Sequence[Where]) -> None:
        begin = perf_counter()
        obs = policy.stage("obs", [where.obs for where in wheres])
        mask = agent_index = None
        if wheres[0].action_mask is not None:
            mask = policy.stage("action_mask", [where.action_mask for where in wheres])
        if wheres[0].agent_index is not None:
            agent_index = np.concatenate([where.agent_index for where in wheres])
        rnn_state = is_first = None
        if policy.states is not None:
            rnn_state, is_first = policy.states.gather(wheres)
        gathered = perf_counter()
        action, log_prob = policy.act(wheres, obs, mask, agent_index, rnn_state, is_first)
        acted = perf_counter()
        if policy.states is not None:
            policy.states.scatter(wheres, rnn_state)
        first = 0
        for where in wheres:
            last = first + len(where.obs)
            where.deliver(action[first:last], log_prob[first:last], policy.version)
            first = last
        scattered = perf_counter()
        self._times[GATHER] += gathered - begin
        self._times[FORWARD] += acted - gathered
        self._times[SCATTER] += scattered - acted
        self._counts[FORWARDS] += 1
        self._counts[ROWS] += first * wheres[0].shape[1]
