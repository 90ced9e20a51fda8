"""SFT, DPO and the reward model: losses by hand, and runs in which something is learnt."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from conftest import read_json, write_rows
from training import MAIN, demonstrations, metrics, preferences, train

from judges.backends.base import Request, Sampling
from judges.backends.reward import RewardScorer
from judges.backends.transformers import TransformersLLM
from judges.errors import UserError
from judges.kinds.reward_model import _conversation
from judges.schema import Instruction, Message
from train_baselines.dpo import DPOConfig, dpo_loss
from train_baselines.reward_model import RewardModelConfig, reward_loss
from train_baselines.runtime.config import RunConfig, parse
from train_baselines.sft import SFTConfig, sft_loss

CONFIGS = {"sft": SFTConfig, "dpo": DPOConfig, "reward_model": RewardModelConfig}


# --------------------------------------------------------------------------------- losses by hand
def test_sft_loss_by_hand():
    logprobs = torch.tensor([[0.0, -1.0, -2.0], [0.0, -5.0, -9.0]])
    targets = torch.tensor([[False, True, True], [False, True, False]])
    assert sft_loss(logprobs, targets).item() == pytest.approx((1 + 2 + 5) / 3)


def test_dpo_loss_by_hand():
    policy = torch.tensor([[-10.0, -12.0], [-8.0, -5.0]], requires_grad=True)
    reference = torch.tensor([[-11.0, -11.0], [-8.0, -6.0]])
    # log-ratios 1 and -1, 0 and 1: h = 2 and -1
    loss, metrics = dpo_loss(policy, reference, beta=0.5)
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(0.5))) / 2
    assert loss.item() == pytest.approx(expected)
    assert {k: v.item() for k, v in metrics.items()} == pytest.approx(
        {"reward": 0.25, "reward_rejected": 0.0, "accuracy": 0.5}
    )
    loss.backward()
    wrong = [0.5 / (1 + math.exp(0.5 * h)) / 2 for h in (2, -1)]  # β σ(-β h) / B, equation 8
    assert policy.grad.tolist() == [pytest.approx([-w, w]) for w in wrong]
    squared, _ = dpo_loss(policy, reference, beta=0.5, loss_type="ipo")
    assert squared.item() == pytest.approx(((2 - 1) ** 2 + (-1 - 1) ** 2) / 2)
    swapped, _ = dpo_loss(policy.flip(1), reference.flip(1), beta=0.5)
    assert swapped.item() == pytest.approx(
        expected + 0.5 * (2 - 1) / 2
    )  # -log σ(-x) = x - log σ(x)


def test_reward_loss_by_hand():
    scores, p = torch.tensor([[2.0, 0.5], [0.0, 1.0]]), torch.tensor([0.75, 1.0])

    def minus_log_sigmoid(x: float) -> float:
        return math.log(1 + math.exp(-x))

    loss, metrics = reward_loss(scores, p)
    assert loss.item() == pytest.approx((minus_log_sigmoid(1.5) + minus_log_sigmoid(-1)) / 2)
    assert metrics["accuracy"].item() == 0.5
    assert metrics["ahead"].item() == pytest.approx(0.25)
    loss, _ = reward_loss(scores, p, margin=2.0)
    assert loss.item() == pytest.approx((minus_log_sigmoid(0.5) + minus_log_sigmoid(-3)) / 2)
    loss, _ = reward_loss(scores, p, soft_labels=True)
    soft = 0.75 * minus_log_sigmoid(1.5) + 0.25 * minus_log_sigmoid(-1.5)
    assert loss.item() == pytest.approx((soft + minus_log_sigmoid(-1)) / 2)
    tie = torch.tensor([[1.0, 1.0]], requires_grad=True)
    reward_loss(tie, torch.tensor([0.5]), soft_labels=True)[0].backward()
    assert tie.grad.abs().max() == 0


# ------------------------------------------------------------------------------ what runs do learn
def asked(model: Path, texts: list[str]) -> list[str]:
    sampling = Sampling(max_tokens=6, temperature=0)
    requests = [Request(id=t, messages=(Message("user", t),), sampling=sampling) for t in texts]
    return [one.text for one in TransformersLLM.load(model).complete_batch(requests)]


@pytest.fixture(scope="module")
def taught(tiny_llama, tmp_path_factory) -> Path:
    """A model that has learnt the demonstrations by heart."""
    folder = tmp_path_factory.mktemp("sft")
    flags = {
        "batch_size": 10,
        "num_train_epochs": 6,
        "learning_rate": 1e-3,
        "tokens_per_device": 200,
    }
    assert (
        train("sft", tiny_llama, demonstrations(folder / "d.jsonl"), folder / "out", **flags) == 0
    )
    return folder / "out"


def test_sft_learns_its_demonstrations(taught):
    losses = [line["loss"] for line in metrics(taught)]
    assert losses[0] > 4
    assert losses[-1] < 0.2
    assert asked(taught, ["Say red 0", "Say cat 5 please"]) == ["red red ", "cat cat "]
    run = read_json(taught / "train_config.json")
    assert (run["method"], run["finished"], run["schema_version"]) == ("sft", True, 1)
    assert run["facts"] == {"dropped": {}, "examples": 40, "steps": 24}
    assert read_json(taught / "generation_config.json")["eos_token_id"]
    assert (taught / "chat_template.jinja").read_text()
    assert not (taught / "checkpoints").exists()


def test_packing_takes_the_same_steps(tiny_llama, tmp_path):
    data = demonstrations(tmp_path / "d.jsonl")
    for packing in (False, True):
        flags = {"packing": packing, "learning_rate": 1e-4, "max_steps": 3, "batch_size": 20}
        assert train("sft", tiny_llama, data, tmp_path / str(packing), **flags) == 0
    padded, packed = (metrics(tmp_path / name) for name in ("False", "True"))
    for one, other in zip(padded, packed, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
        assert one["tokens"] == other["tokens"]


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"loss_type": "ipo", "length_normalised": True, "beta": 0.5},
        {"use_peft": True, "learning_rate": 2e-3},
        {"gradient_checkpointing": True, "tokens_per_device": 100},
    ],
    ids=["sigmoid", "ipo", "lora", "checkpointing"],
)
def test_dpo_learns_to_tell_answers_apart(flags, taught, tmp_path):
    data, out = preferences(tmp_path / "p.jsonl"), tmp_path / "out"
    settings = {"learning_rate": 2e-4, "batch_size": 10, "num_train_epochs": 2, **flags}
    assert train("dpo", taught, data, out, **settings) == 0
    lines = metrics(out)
    assert lines[0]["reward"] == pytest.approx(0, abs=1e-5)  # the reference is where it began
    assert lines[-1]["loss"] < lines[0]["loss"] * 0.9
    assert lines[-1]["accuracy"] >= 0.9
    assert lines[-1]["reward"] > lines[-1]["reward_rejected"] + 0.01
    assert not list(out.glob("kept-*"))


def test_a_reward_model_learns_to_tell_answers_apart(taught, tmp_path, capsys):
    data, out = preferences(tmp_path / "p.jsonl"), tmp_path / "out"
    settings = {
        "learning_rate": 3e-4,
        "num_train_epochs": 2,
        "batch_size": 10,
        "eval_dataset": data,
    }
    assert train("reward_model", taught, data, out, **settings) == 0
    assert metrics(out)[-1]["accuracy"] >= 0.9
    facts = read_json(out / "train_config.json")["facts"]
    assert facts["eval_accuracy"] >= 0.95
    assert f"accuracy on {data}: {facts['eval_accuracy']:.1%}" in capsys.readouterr().out
    question = Instruction(id="x", messages=(Message("user", "Say red 3"),))
    scores = RewardScorer.load(out).score(
        [_conversation(question, t) for t in ("red yes", "no no ")]
    )
    assert scores[0] > scores[1]


def test_copies_to_evaluate_are_models(tiny_llama, tmp_path):
    data, out = demonstrations(tmp_path / "d.jsonl"), tmp_path / "out"
    flags = {"max_steps": 4, "export_steps": 2, "batch_size": 8, "use_peft": True}
    assert train("sft", tiny_llama, data, out, **flags) == 0
    early, late, last = (asked(p, ["Say red 0"]) for p in (out / "step-2", out / "step-4", out))
    assert late == last
    assert len(early) == 1


# ---------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize("method", CONFIGS)
def test_few_settings_of_its_own(method):
    shared = {field.name for field in fields(RunConfig)}
    own = {field.name for field in fields(CONFIGS[method])} - shared
    assert len(own) <= 20


def test_a_file_of_settings_lies_below_the_flags(tmp_path):
    path = tmp_path / "sft.toml"
    path.write_text(
        'dataset = "d"\nseed = 3\nlearning_rate = 1e-4\nlora_target_modules = ["q_proj"]\n'
    )
    args = ["--config", str(path), "--model-name-or-path", "m", "--output_dir", "o", "--seed", "4"]
    config = parse(SFTConfig, args, "sft")
    assert config == SFTConfig(
        model_name_or_path="m", dataset="d", output_dir=Path("o"), seed=4, learning_rate=1e-4,
        lora_target_modules=("q_proj",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sed = 3", "'sed' is no setting; known: adam_beta2"),
        ("seed = 'x'", "seed: input should be a valid integer"),
        ("lr_scheduler_type = 'up'", "lr_scheduler_type: input should be 'cosine'"),
        ("seed =", "not valid TOML"),
    ],
)
def test_a_wrong_file_of_settings_is_refused(text, told, tmp_path):
    path = tmp_path / "sft.toml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        parse(SFTConfig, ["--config", str(path)], "sft")
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("method", "flags", "told"),
    [
        ("sft", {"batch_size": 0}, "batch_size = 0: at least 1"),
        ("sft", {"learning_rate": -1}, "learning_rate = -1.0: a positive number"),
        ("dpo", {"beta": 0}, "beta = 0.0: a positive number"),
        ("reward_model", {"margin": -1}, "margin = -1.0"),
        ("sft", {"lora_target_modules": "nothing", "use_peft": True}, "lora_target_modules"),
        ("sft", {"model_name_or_path": "no/where/at/all"}, "there is no such folder"),
        ("sft", {"max_length": 4}, "no examples are left"),
        ("sft", {"batch_sise": 1}, "--help"),
    ],
)
def test_wrong_settings_are_refused(method, flags, told, tiny_llama, tmp_path, capsys):
    data = (
        preferences(tmp_path / "d.jsonl")
        if method != "sft"
        else demonstrations(tmp_path / "d.jsonl")
    )
    given = {
        "model_name_or_path": tiny_llama,
        "dataset": data,
        "output_dir": tmp_path / "o",
        **flags,
    }
    assert MAIN[method]([x for k, v in given.items() for x in (f"--{k}", str(v))]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert "Traceback" not in err
    assert not (tmp_path / "o" / "model.safetensors").exists()


def test_equal_answers_name_their_line(tiny_llama, tmp_path, capsys):
    rows = [
        {"prompt": "a", "chosen": "x", "rejected": "y"},
        {"prompt": "a", "chosen": "x", "rejected": "x"},
    ]
    data = write_rows(tmp_path / "p.jsonl", rows)
    assert train("dpo", tiny_llama, data, tmp_path / "o") == 2
    assert (
        f"train_baselines.dpo: {data}, line 2: the two answers are equal" in capsys.readouterr().err
    )
