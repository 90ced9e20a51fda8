"""Models as the methods use them: a policy that gives log-probabilities, a model that gives scores.

The model's own dropout is off (`loading`), so that a log-probability is a function of the weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from judges.backends.loading import quiet
from judges.errors import UserError
from train_baselines import ops
from train_baselines.data.examples import Encoder, Example, pack, pad
from train_baselines.models.saving import save_model
from train_baselines.runtime.devices import Model, whole


class Wrapped(Model):
    """A model of transformers with its tokenizer and template, and what policies and reward models
    have in common: hidden states, and how they are saved."""

    def __init__(self, model: Any, encoder: Encoder, *, bf16: bool) -> None:
        super().__init__()
        self.model = model
        self.encoder = encoder
        self.bf16 = bf16
        self._causal = False  # for the probe
        self._causal = _needs_no_mask(self)

    @property
    def inner(self) -> Any:
        """The model of transformers, adapters inside."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def hidden(self, ids: Tensor, attention: Tensor | None, positions: Tensor | None) -> Tensor:
        """The last hidden states, [B, L, D]."""
        states: Tensor = self.inner.base_model(
            input_ids=ids,
            attention_mask=None if self._causal and positions is None else attention,
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state
        return states

    def autocast(self) -> torch.autocast:
        """bfloat16 for what bears it, where `bf16` is set; nothing else."""
        device = self.inner.get_input_embeddings().weight.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.bf16)

    def save(self, folder: Path | None) -> None:
        """Writes the whole model, adapters merged."""
        save_model(self.inner, self.encoder, folder, bf16=self.bf16)


class Policy(Wrapped):
    """A causal language model that gives log-probabilities of tokens.

    Hidden states are computed for all places, logits for the targets alone.
    """

    def __init__(self, model: Any, encoder: Encoder, *, bf16: bool) -> None:
        super().__init__(model, encoder, bf16=bf16)
        self._plain_head = self._is_plain_head()

    def forward(
        self,
        ids: Tensor,
        attention: Tensor | None,
        positions: Tensor | None,
        targets: Tensor,
        temperature: float = 1.0,
        *,
        states: Tensor | None = None,
    ) -> Tensor:
        """Log-probabilities of the targets under softmax(logits / temperature).

        Takes `Tokens`, and their hidden states where the caller has them already; gives [B, L] in
        float32, 0 at places that are no targets.
        """
        wanted = targets[:, 1:]
        labels = ids[:, 1:][wanted]  # a token is foretold from the place before it
        with self.autocast():
            if self._plain_head:
                head = self.inner.get_output_embeddings()
                if states is None:
                    states = self.hidden(ids, attention, positions)
                before = states[:, :-1][wanted]
                found = ops.logprobs_from_hidden(
                    before, head.weight, labels, bias=head.bias, temperature=temperature
                )
            else:
                logits = self._logits(ids, attention, positions)[:, :-1][wanted]
                found = ops.logprobs_from_logits(logits.float() / temperature, labels)
        logprobs = torch.zeros(targets.shape, dtype=torch.float32, device=ids.device)
        return logprobs.masked_scatter(nn.functional.pad(wanted, (1, 0)), found)

    def before(
        self, ids: Tensor, attention: Tensor | None, positions: Tensor | None, targets: Tensor
    ) -> tuple[Tensor, nn.Module]:
        """The hidden states that the N targets are foretold from, [N, D], and the head that makes
        logits of them; where more than a head stands between, the logits, and a head that does
        nothing."""
        wanted = targets[:, 1:]  # a token is foretold from the place before it
        with self.autocast():
            if self._plain_head:
                states = self.hidden(ids, attention, positions)[:, :-1]
                return states[wanted], self.inner.get_output_embeddings()
            return self._logits(ids, attention, positions)[:, :-1][wanted], nn.Identity()

    def _logits(self, ids: Tensor, attention: Tensor | None, positions: Tensor | None) -> Tensor:
        logits: Tensor = self.inner(
            input_ids=ids, attention_mask=attention, position_ids=positions, use_cache=False
        ).logits
        return logits

    @torch.no_grad()
    def _is_plain_head(self) -> bool:
        """Whether the logits are the hidden states times the head and nothing else.

        Some architectures scale or cap them; those are computed the long way.
        """
        head = self.inner.get_output_embeddings()
        if type(head) is not nn.Linear:
            return False
        ids = _sample_ids(head.weight.shape[0], head.weight.device)[:1]
        with _evaluating(self):
            ours = head(self.hidden(ids, None, None).to(head.weight.dtype))
            return torch.allclose(ours, self._logits(ids, None, None), rtol=1e-3, atol=1e-3)

    def check_packing(self) -> None:
        """Raises UserError where rows laid end to end do not come out as they do alone."""
        head = self.inner.get_output_embeddings()
        ids = _sample_ids(head.weight.shape[0], head.weight.device)
        rows = [Example(tuple(row[: 5 + n].tolist()), 1, "") for n, row in enumerate(ids)]
        with _evaluating(self), torch.no_grad():
            alone = torch.cat([self(*pad([row], 0, ids.device))[0, 1:] for row in rows])
            packed = self(*(tokens := pack(rows, ids.device)))[tokens.targets]
        if not torch.allclose(alone, packed, rtol=0, atol=1e-3 if self.bf16 else 1e-4):
            kind, attention = self.inner.config.model_type, self.inner.config._attn_implementation
            raise UserError(
                f"packing is not exact for {kind} with {attention} attention: rows would see one "
                "another. Train with --packing False"
            )

    @contextlib.contextmanager
    def adapter_off(self) -> Iterator[None]:
        """With LoRA, the model as it was before training: the reference."""
        with self.model.disable_adapter():
            yield

    def save(self, folder: Path | None) -> None:
        """Writes the whole model, adapters merged, and with LoRA the adapter as well."""
        super().save(folder)
        if self.inner is self.model:
            return
        held = self.model.state_dict()
        adapter = {name: whole(held[name]) for name in held if ".lora_" in name}
        if folder is not None:
            with quiet():
                self.model.save_pretrained(folder / "adapter", state_dict=adapter)


class ScalarModel(Wrapped):
    """A model with one number for every token: a reward model, read at the last token, or a value
    model."""

    def forward(
        self, ids: Tensor, attention: Tensor | None, positions: Tensor | None = None
    ) -> Tensor:
        """The head's number at every place, [B, L] in float32."""
        with self.autocast():
            scores: Tensor = self.inner.score(self.hidden(ids, attention, positions))
        return scores.squeeze(-1).float()


class ActorCritic(Model):
    """What is trained: the policy with its value model, which is a head of zeros on the policy's
    hidden states where there is no separate one."""

    def __init__(self, policy: Policy, critic: ScalarModel | None) -> None:
        super().__init__()
        self.policy, self.critic = policy, critic
        if critic is None:
            table = policy.inner.get_input_embeddings().weight
            self.head = nn.Linear(table.shape[1], 1, bias=False, device=table.device)
            nn.init.zeros_(self.head.weight)

    def forward(
        self,
        ids: Tensor,
        attention: Tensor | None,
        positions: Tensor | None,
        targets: Tensor,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the targets, and the values of the states they were drawn in, those
        of the places before them: both [n], n the number of targets, row by row."""
        states = None
        if self.critic is None:
            with self.policy.autocast():
                states = self.policy.hidden(ids, attention, positions)
            values = self.head(states.float()).squeeze(-1)
        else:
            values = self.critic(ids, attention, positions)
        logprobs = self.policy(ids, attention, positions, targets, temperature, states=states)
        return logprobs[targets], values[:, :-1][targets[:, 1:]]

    def save(self, folder: Path | None) -> None:
        """Writes the policy; its value model is of no use without the trainer."""
        self.policy.save(folder)


# ----------------------------------------------------------------------------------------- probes
def _sample_ids(n: int, device: Any) -> Tensor:
    """Two rows of eight ordinary tokens of a vocabulary of n."""
    return ((torch.arange(16, device=device) * 13 + 7) % n).view(2, 8)


@torch.no_grad()
def _needs_no_mask(model: Wrapped) -> bool:
    """Whether padding on the right changes nothing before it though nobody says that it is padding:
    so it is where a token sees only those before it, and attention is faster without a mask."""
    table = model.inner.get_input_embeddings().weight
    ids = _sample_ids(table.shape[0], table.device)
    with _evaluating(model):
        whole, part = model.hidden(ids, None, None), model.hidden(ids[:, :5], None, None)
    return torch.allclose(whole[:, :5], part, rtol=1e-3, atol=1e-3)


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    was = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was)
