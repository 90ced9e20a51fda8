"""The losses beside those of TRL's own trainers: same rows, same weights, value and gradients.

TRL makes token ids of the conversations itself, so these are compared as well.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_rows
from tiny_model import CHAT_TEMPLATE

from train_baselines.data.examples import PairExample, encode_demonstrations, encode_pairs, pad
from train_baselines.data.sources import read_demonstrations, read_pairs
from train_baselines.dpo import DPOConfig, dpo_loss
from train_baselines.models.loading import load_policy, new_scalar_model
from train_baselines.ops import masked_mean, masked_sum
from train_baselines.reward_model import RewardModelConfig, reward_loss
from train_baselines.runtime.run import Run
from train_baselines.sft import SFTConfig, sft_loss

trl = pytest.importorskip("trl", reason="TRL is not installed: it comes with the extra `dev`")
datasets = pytest.importorskip("datasets", reason="TRL needs the extra `train`")

WORDS = ["red", "blue", "green", "cat", "dog", "one", "two", "three"]


def turn(role: str, n: int, words: int) -> list[dict[str, str]]:
    """A conversation of one turn."""
    return [{"role": role, "content": " ".join(WORDS[(n + k) % 8] for k in range(words))}]


PAIRS = [
    {
        "prompt": turn("user", n, 1 + n % 3),
        "chosen": turn("assistant", n, 2 + n),
        "rejected": turn("assistant", n + 3, 1 + 3 * n % 5),
    }
    for n in range(6)
]
DEMONSTRATIONS = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in PAIRS]


def loaded(kind: Any, load: Any, model: Path, data: list[Any], out: Path) -> tuple[Any, Any]:
    """A model of ours, and its config."""
    rows = write_rows(out / "rows.jsonl", data)
    # The model's own template writes a line break behind an answer's end, and TRL trains on it.
    template = out / "template.jinja"
    template.write_text(CHAT_TEMPLATE.replace("<|end|>\n", "<|end|>"))
    config = kind(
        model_name_or_path=str(model), dataset=str(rows), output_dir=out / "run",
        chat_template=str(template),
    )  # fmt: skip
    return load(str(model), config, Run("test", config)), config


def peer(name: str, ours: Any, data: list[Any], out: Path, **given: Any) -> tuple[Any, Any]:
    """A trainer of TRL on a copy of the model, and its one batch of all rows."""
    reference = {"ref_model": given.pop("ref_model")} if "ref_model" in given else {}
    trainer = getattr(trl, f"{name}Trainer")(
        model=copy.deepcopy(ours.inner),
        args=getattr(trl, f"{name}Config")(
            output_dir=str(out / "trl"), report_to="none", use_cpu=True, bf16=False,
            per_device_train_batch_size=len(data), **given,
        ),
        train_dataset=datasets.Dataset.from_list(data),
        processing_class=ours.encoder.tokenizer,
        **reference,
    )  # fmt: skip
    return trainer, next(iter(trainer.get_train_dataloader()))


def agree(loss: torch.Tensor, ours: Any, trainer: Any, batch: dict[str, Any]) -> None:
    """Loss and gradients of both are equal, and there are some."""
    other = trainer.compute_loss(trainer.model, batch)
    assert loss.item() == pytest.approx(other.item(), abs=1e-5)
    loss.backward()
    other.backward()
    theirs = dict(trainer.model.named_parameters())
    for name, parameter in ours.inner.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=0, atol=1e-5)
    assert max(p.grad.abs().max() for p in theirs.values()) > 1e-3


def ids(rows: list[Any], batch: dict[str, Any]) -> None:
    """The token ids of both are the same."""
    pairs = zip(batch["input_ids"], batch["attention_mask"], strict=True)
    theirs = sorted(tuple(line[mask.bool()].tolist()) for line, mask in pairs)
    assert theirs == sorted(row.ids for row in rows)


def both(rows: list[PairExample]) -> list[Any]:
    return [row.chosen for row in rows] + [row.rejected for row in rows]


def test_sft_is_the_loss_of_trl(tiny_llama, tmp_path):
    policy, config = loaded(SFTConfig, load_policy, tiny_llama, DEMONSTRATIONS, tmp_path)
    rows = encode_demonstrations(read_demonstrations(config.dataset), policy.encoder, 99).rows
    trainer, batch = peer("SFT", policy, DEMONSTRATIONS, tmp_path)
    ids(rows, batch)
    tokens = pad(rows, policy.encoder.pad)
    agree(sft_loss(policy(*tokens), tokens.targets), policy, trainer, batch)


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_reward_model_is_the_loss_of_trl(margin, tiny_llama, tmp_path):
    model, config = loaded(RewardModelConfig, new_scalar_model, tiny_llama, PAIRS, tmp_path)
    rows = encode_pairs(read_pairs(config.dataset), model.encoder, 99, judged=True).rows
    given = [{**row, "margin": margin} for row in PAIRS] if margin else PAIRS
    trainer, batch = peer("Reward", model, given, tmp_path)
    ids(both(rows), batch)
    tokens = pad(both(rows), model.encoder.pad)
    scores = masked_sum(model(*tokens[:3]), tokens.targets, 1).view(2, -1).T
    probability = torch.tensor([row.probability for row in rows])
    agree(reward_loss(scores, probability, margin=margin)[0], model, trainer, batch)


# TRL's ipo is that of log-probabilities per token; it has none of their sums.
@pytest.mark.parametrize(
    ("theirs", "loss_type", "length_normalised"),
    [("sigmoid", "sigmoid", False), ("sigmoid_norm", "sigmoid", True), ("ipo", "ipo", True)],
)
def test_dpo_is_the_loss_of_trl(theirs, loss_type, length_normalised, tiny_llama, tmp_path):
    policy, config = loaded(DPOConfig, load_policy, tiny_llama, PAIRS, tmp_path)
    reference = copy.deepcopy(policy)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    rows = encode_pairs(read_pairs(config.dataset), policy.encoder, 99).rows
    trainer, batch = peer(
        "DPO", policy, PAIRS, tmp_path,
        loss_type=[theirs], beta=0.5, ref_model=copy.deepcopy(reference.inner),
    )  # fmt: skip
    ids(both(rows), batch)
    tokens = pad(both(rows), policy.encoder.pad)
    reduce = masked_mean if length_normalised else masked_sum
    ours, held = (reduce(m(*tokens), tokens.targets, 1).view(2, -1).T for m in (policy, reference))
    loss, _ = dpo_loss(ours, held.detach(), beta=0.5, loss_type=loss_type)
    assert abs(loss.item() - dpo_loss(ours, ours, beta=0.5, loss_type=loss_type)[0].item()) > 1e-3
    agree(loss, policy, trainer, batch)
