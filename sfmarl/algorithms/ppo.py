"""The PPO family: one implementation, three switches, four presets.

    critic     own | state          each agent's observation, or a central state (MAPPO)
    returns    gae | vtrace | nstep
    surrogate  clip | pg            PPO's clipped ratio, or the plain policy gradient

    ippo, appo = own, vtrace, clip     mappo = state, vtrace, clip     a2c = own, nstep, pg

Every combination is legal. IPPO and MAPPO are published with GAE(lambda): V-trace is equal to it at policy lag 0 and is
what keeps them right in asynchronous runs, so it is their default here. `appo` makes fewer passes over fresher data.

**V-trace with several epochs.** Three policies meet: mu that acted, pi_k at the update's start, pi being optimised.
V-trace corrects from mu to pi_k, once, with the log-probabilities stored at act time; its advantage carries rho =
min(rho_bar, pi_k / mu). The ratio is then pi / pi_k. Their product is the importance weight pi / mu, each factor
exactly once: the decoupled objective of Hilton et al. 2022 ("Batch size-invariance for policy optimization", arXiv
2110.00641, section 3), which IMPACT (Luo et al. 2020, arXiv 1912.00167) and RLlib's APPO use with their target network
as pi_k. Sample Factory instead multiplies the V-trace advantage, which holds rho, by pi / mu: stale samples are then
weighted by about rho squared.

The trust region lies around both pi_k and mu: a sample stops pushing where pi / pi_k or pi / mu has left the clip range
in its direction. Around pi_k alone, as published, the same mistake, which at policy lag L is seen in L + 1 updates
before its correction shows, may move the policy by the clip range in each; near an optimum, where the few mistakes left
are the largest advantages of their batch, that overshoots, and what was learned is lost
(`benchmarks/results/recall.md`).

Advantages are standardised under the weights rho: a mean over plain rows would be a baseline that the lag biases. At
policy lag 0 all of this is PPO. With `gae` and `nstep` nothing corrects for lag but the ratio, which is then pi / mu.

Ratios are per agent, never of the joint action. What a dead agent's row holds has no influence.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sfmarl.algorithms import losses, returns
from sfmarl.algorithms.base import Batch
from sfmarl.algorithms.compiling import compiled
from sfmarl.algorithms.critic_memory import CriticMemory
from sfmarl.algorithms.hyperparameters import Hyperparameters
from sfmarl.algorithms.metric_sums import MetricSums
from sfmarl.algorithms.optimiser import ActorCriticAdam, lr_factor
from sfmarl.algorithms.rows import Inputs, Rows, lane_is_first
from sfmarl.algorithms.saving import load_in_place, restored_generator
from sfmarl.algorithms.side_by_side import SideBySide
from sfmarl.algorithms.targets import Targets, estimate
from sfmarl.errors import UsageError
from sfmarl.models.actor import Actor
from sfmarl.models.critic import Critic
from sfmarl.models.normaliser import ObsNormaliser, RunningMoments, ValueNormaliser
from sfmarl.models.recurrence import Memory
from sfmarl.seeding import seed_for
from sfmarl.specs import PolicySpec, is_image

_OPTIMISER, _GENERATOR = "optimiser.", "minibatch_generator"
"""Names in a saved state: what an optimiser's begin with, and the generator's."""


class PPO:
    """One policy's actor, critic and update (see the module's head)."""

    Hyperparameters: ClassVar[type] = Hyperparameters

    def __init__(self, spec: PolicySpec, hp: Hyperparameters, device: torch.device, seed: int) -> None:
        """Raises UsageError when a central critic is asked for and the environment offers no state."""
        if hp.critic == "state" and spec.state_source == "own":
            raise UsageError(
                f"Policy {spec.name!r}: a central critic (critic=state) needs a state, and this environment offers "
                "neither `state()` nor the team's observations side by side. Use critic=own, or the preset ippo."
            )
        self.spec, self.hp, self.device = spec, hp, device
        self.actor = self.build_actor(spec, hp, seed_for(seed, "actor")).to(device)
        source = spec.state_source if hp.critic == "state" else "own"
        net = hp.net(hp.critic_rnn, hp.encoder if source == "own" else hp.state_encoder)
        self.critic = Critic(spec, net, source, seed_for(seed, "critic")).to(device)
        self._critic_memory = CriticMemory(self.critic.state_size, source != "own", device)
        self._side_by_side = SideBySide(device)
        self._optimiser = ActorCriticAdam(self.actor, self.critic, hp.adam_eps, hp.max_grad_norm, self._side_by_side)
        # on the CPU, whatever the device: a generator's state fits only the kind of device it was drawn on
        self._generator = torch.Generator().manual_seed(seed_for(seed, "minibatches"))
        self._value_norm = ValueNormaliser(hp.value_norm_decay).to(device) if hp.normalise_values else None
        self._return_moments = RunningMoments().to(device) if hp.normalise_returns else None
        normaliser = self.actor.normaliser
        self._obs_moments = RunningMoments(normaliser.mean.shape).to(device) if normaliser else None
        normalise_state = source == "env" and hp.normalise_obs and not is_image(spec.state_shape)
        self._state_norm = ObsNormaliser(spec.state_shape).to(device) if normalise_state else None
        self._state_moments = RunningMoments(spec.state_shape).to(device) if normalise_state else None
        if hp.compile:
            for step in ("_evaluate", "_value", "_policy_loss", "_value_loss"):
                setattr(self, step, compiled(getattr(self, step), device))

    @staticmethod
    def build_actor(spec: PolicySpec, hp: Hyperparameters, seed: int = 0) -> Actor:
        """Build the actor that inference workers load weights into; `seed` draws its first weights."""
        return Actor(spec, hp.net(hp.actor_rnn, hp.encoder), seed)

    @staticmethod
    def central_critic(hp: Hyperparameters) -> bool:
        """See `Algorithm.central_critic`."""
        return hp.critic == "state"

    def update(self, batch: Batch, progress: float) -> dict[str, Tensor | float]:
        """See `Algorithm.update`. Nothing is read back from the device but, if `target_kl` is set, one KL per epoch.

        Metrics: loss_policy, loss_value (normalised space), entropy and kl (nats), clip_fraction, grad_norm,
        grad_norm_critic (means over optimiser steps), explained_variance, value_mean, return_mean, advantage_std
        (units of return), rho_mean (V-trace), ratio_max_first (largest |pi / mu - 1| before the first step: 0 at
        policy lag 0), lr, valid_fraction (active rows of all), epochs_run, skipped_updates (steps not taken because
        something was not finite).
        """
        hp = self.hp
        factor = lr_factor(hp.lr_schedule, hp.lr_final, progress)
        self._optimiser.set_lr(hp.lr * factor, (hp.critic_lr or hp.lr) * factor)
        rows = Rows.of(batch)
        if self._return_moments is not None:
            self._scale_rewards(rows)
        obs = self.actor.prepare(rows.obs)
        state = rows.state if self._state_norm is None else self._state_norm(rows.state)
        critic_rows = self.critic.gather(obs, state)
        actor_memory = Memory(rows.actor_state, rows.is_first) if self.actor.state_size else None
        critic_memory = self._recall(batch) if self.critic.state_size else None
        inputs = Inputs.of(rows, obs, critic_rows, actor_memory, critic_memory)
        targets: Targets | None = None
        sums = MetricSums(self.device)
        metrics: dict[str, Tensor | float] = {"lr": hp.lr * factor, "valid_fraction": inputs.active.mean()}
        for epoch in range(hp.epochs):
            fresh = targets is None or hp.recompute_values
            sums.start_epoch()
            if hp.minibatches == 1:
                # the pass that is learned from is also what targets are made of: they cost none of their own
                (log_prob, entropy), (value, memory) = self._side_by_side(
                    partial(self._evaluate, inputs),
                    partial(self._value, critic_rows, rows.agent_index, critic_memory),
                )
                if fresh:
                    made = estimate(hp, rows, value.detach(), log_prob.detach(), targets, self._value_norm)
                    targets, metrics = made[0], made[1] | metrics
                self._step(inputs, targets, log_prob, entropy, value[:-1], sums)
            else:
                if fresh:
                    with torch.no_grad():
                        wanted = hp.returns == "vtrace" and targets is None
                        log_prob = self._evaluate(inputs)[0] if wanted else None
                        value, memory = self._value(critic_rows, rows.agent_index, critic_memory)
                    made = estimate(hp, rows, value, log_prob, targets, self._value_norm)
                    targets, metrics = made[0], made[1] | metrics
                for part, part_targets in self._minibatches(inputs, targets):
                    (log_prob, entropy), (value, _) = self._side_by_side(
                        partial(self._evaluate, part),
                        partial(self._value, part.critic_rows, part.agent_index, part.critic_memory),
                    )
                    self._step(part, part_targets, log_prob, entropy, value, sums)
            if epoch == 0 and memory is not None:
                self._critic_memory.keep(batch, memory)
            metrics["epochs_run"] = float(epoch + 1)
            if hp.target_kl > 0.0 and epoch + 1 < hp.epochs and float(sums.epoch_mean("kl")) > hp.target_kl:
                break
        # only now: during the update the statistics are those the actor acted with
        if self._obs_moments is not None:
            self.actor.normaliser.follow(self._obs_moments, rows.obs[:-1], rows.active)
        if self._state_norm is not None:
            self._state_norm.follow(self._state_moments, rows.state[:-1], rows.active.any(-1))
        return sums.means() | metrics

    def _recall(self, batch: Batch) -> Memory:
        is_first = batch.is_first if self.critic.source == "own" else lane_is_first(batch)
        return Memory(self._critic_memory.recall(batch), is_first)

    def _minibatches(self, inputs: Inputs, targets: Targets) -> Iterator[tuple[Inputs, Targets]]:
        """Yield random disjoint parts of the batch: single steps, or whole lanes where there is a memory."""
        steps, lanes = inputs.active.shape[:2]
        whole_lanes = inputs.actor_memory is not None or inputs.critic_memory is not None
        count = lanes if whole_lanes else steps * lanes
        order = torch.randperm(count, generator=self._generator).to(self.device, non_blocking=True)
        # an empty part would still move the weights: Adam steps on its momentum
        for index in order.tensor_split(min(self.hp.minibatches, count)):
            if whole_lanes:
                yield inputs.take_lanes(index), targets.take_lanes(index)
            else:
                yield inputs.take(index), targets.take(index)

    def _evaluate(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        return self.actor.evaluate(
            inputs.obs, inputs.action, inputs.action_mask, inputs.agent_index, inputs.actor_memory
        )

    def _value(self, rows: Tensor, agent_index: Tensor | None, memory: Memory | None) -> tuple[Tensor, Tensor | None]:
        """Return the critic's outputs and, of T + 1 rows, what it remembers before the last one."""
        if memory is None:
            return self.critic(rows, agent_index), None
        return self.critic.unroll(rows, memory, agent_index, state_after=len(rows) - 2)

    def _scale_rewards(self, rows: Rows) -> None:
        sums = returns.discounted(rows.reward, rows.terminated, rows.truncated, rows.running, self.hp.gamma)
        self._return_moments.merge(sums, rows.running)
        rows.reward = rows.reward / self._return_moments.variance.clamp_min(1e-8).sqrt().float()

    def _step(
        self, inputs: Inputs, targets: Targets, log_prob: Tensor, entropy: Tensor, value: Tensor, sums: MetricSums
    ) -> None:
        """Take one optimiser step on rows [..., A]."""
        hp, active = self.hp, inputs.active
        loss_policy, mean_entropy, log_ratio = self._policy_loss(targets, log_prob, entropy, active)
        loss_value = self._value_loss(targets, value, inputs.running)
        norm, critic_norm, skipped = self._optimiser.step(loss_policy - hp.entropy_coef * mean_entropy, loss_value)
        with torch.no_grad():
            ratio = log_ratio.exp()
            change = (ratio - 1.0).abs()
            sums.keep_first("ratio_max_first", change)
            sums.add(
                skipped,
                loss_policy=loss_policy.detach(),
                loss_value=loss_value.detach(),
                entropy=mean_entropy.detach(),
                # Schulman 2020, "Approximating KL Divergence": unbiased, never negative
                kl=losses.masked_mean(ratio - 1.0 - log_ratio, active),
                clip_fraction=losses.masked_mean((change > hp.clip).float(), active),
                grad_norm=norm,
                grad_norm_critic=critic_norm,
            )

    def _policy_loss(
        self, targets: Targets, log_prob: Tensor, entropy: Tensor, active: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return (surrogate loss, mean entropy, detached log-ratio [..., A]) of rows [..., A]."""
        log_ratio = (log_prob - targets.reference_log_prob) * active
        if self.hp.surrogate == "clip":
            loss = losses.clipped_surrogate(log_ratio, targets.log_lag, targets.advantage, active, self.hp.clip)
        else:
            loss = losses.policy_gradient(log_prob, targets.advantage, active)
        return loss, losses.masked_mean(entropy, active), log_ratio.detach()

    def _value_loss(self, targets: Targets, value: Tensor, running: Tensor) -> Tensor:
        hp = self.hp
        return losses.value_loss(value, targets.value_target, running, hp.huber_delta, targets.old_value, hp.value_clip)

    def _weights(self) -> dict[str, Tensor]:
        """Return parameters and statistics: what another run may begin with."""
        modules = nn.ModuleDict({"actor": self.actor, "critic": self.critic})
        for name in ("value_norm", "return_moments", "obs_moments", "state_norm", "state_moments"):
            if (module := getattr(self, f"_{name}")) is not None:
                modules[name] = module
        return modules.state_dict()

    def _live_tensors(self) -> dict[str, Tensor]:
        optimiser = {f"{_OPTIMISER}{name}": tensor for name, tensor in self._optimiser.tensors().items()}
        return {**self._weights(), **optimiser}

    def state_dict(self) -> dict[str, Any]:
        """See `Algorithm.state_dict`; the next update after `load_state_dict` is bit-identical."""
        tensors = {name: tensor.detach().clone() for name, tensor in self._live_tensors().items()}
        return {"tensors": tensors | {_GENERATOR: self._generator.get_state()}, "scalars": {}}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Algorithm.load_state_dict`; `state` may come from another device. Nothing is changed when it raises."""
        tensors = dict(state["tensors"])
        generator = restored_generator(tensors.pop(_GENERATOR))
        load_in_place(self._live_tensors(), tensors)
        self._generator = generator

    def load_weights(self, state: dict[str, Any]) -> None:
        """See `Algorithm.load_weights`.

        Statistics come with their counts, as if training went on: the first layer was trained on observations
        normalised by them and the value head in their space, so other statistics would be another function.
        """
        saved = {name: x for name, x in state["tensors"].items() if not name.startswith((_OPTIMISER, _GENERATOR))}
        load_in_place(self._weights(), saved)
