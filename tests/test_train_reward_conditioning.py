"""Reward conditioning: the two tokens part the answers, and whoever asks, asks for a good one."""

from __future__ import annotations

import pytest
import torch
from conftest import make_board, read_json, write_rows
from preferring import loaded, logprobs
from tiny_model import make_tiny_llama
from training import ASKED, metrics, preferences, train

from judges.backends.base import Request, Sampling
from judges.backends.transformers import TransformersLLM
from judges.schema import Instruction, Message
from train_baselines.data.sources import read_pairs
from train_baselines.models.conditioning import condition
from train_baselines.reward_conditioning import (
    LOST,
    WON,
    conditioned,
    conditioning_loss,
)

FLAGS = {"batch_size": 20, "num_train_epochs": 8, "learning_rate": 1e-3}
BETTER = [f"{text.split()[1]} yes" for text in ASKED]
WORSE = ["no " * (1 + n % 3) for n in range(len(ASKED))]


@pytest.fixture(scope="module")
def trained(tiny_llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("conditioned")
    data = preferences(folder / "p.jsonl")
    assert train("reward_conditioning", tiny_llama, data, folder / "out", **FLAGS) == 0
    return folder / "out"


def test_conditioning_loss_by_hand():
    logprobs = torch.tensor([[0.0, -1.0, -2.0], [0.0, -5.0, -9.0]])
    targets = torch.tensor([[False, True, True], [False, True, False]])
    assert conditioning_loss(logprobs, targets).item() == pytest.approx((1 + 2 + 5) / 3)


def test_the_tokens_part_the_answers(trained, tmp_path):
    policy = loaded(trained, tmp_path)
    won, lost = (policy.encoder.tokenizer.convert_tokens_to_ids(token) for token in (WON, LOST))
    ahead = {
        token: (logprobs(policy, BETTER, token) - logprobs(policy, WORSE, token)).mean().item()
        for token in (won, lost)
    }
    assert ahead[won] > 3
    assert ahead[lost] < -3
    by_itself = logprobs(policy, BETTER)
    torch.testing.assert_close(by_itself, logprobs(policy, BETTER, won))
    assert metrics(trained)[-1]["loss"] < 0.5
    assert read_json(trained / "train_config.json")["facts"]["examples"] == 2 * len(ASKED)


def test_who_evaluates_asks_for_a_good_answer(trained, tmp_path, leaderboard):
    model = TransformersLLM.load(trained)
    sampling = Sampling(max_tokens=8, temperature=0)
    asked = [f"Say red 0 {LOST}", "Say dog 3"]
    requests = [Request(id=t, messages=(Message("user", t),), sampling=sampling) for t in asked]
    won, lost = (model.tokenizer.convert_tokens_to_ids(token) for token in (WON, LOST))
    for request in requests:
        text, ids = model.prompt_of(request)
        assert text.endswith(WON)
        assert ids[-1] == won
        assert ids.count(won) == 1
        assert lost not in ids  # what a user writes is no token
    assert model.complete_batch(requests[1:])[0].text == "dog yes"
    items = [
        Instruction(
            id=f"p{k}",
            messages=(Message("user", text),),
            checks=({"kind": "contains", "all": ["yes"]},),
            gold_answer="yes",
        )
        for k, text in enumerate(ASKED[:4])
    ]
    make_board(tmp_path / "results" / "toy", items)
    done = leaderboard(
        "eval", trained, "--board", "toy", "--results", tmp_path / "results", "--name", "mine"
    )
    assert done.code == 0, done.err
    assert WON in done.out + done.err  # the first prompt is shown
    outputs = (tmp_path / "results" / "toy" / "mine" / "outputs.jsonl").read_text()
    assert outputs.count(" yes") == 4
    assert WON not in outputs


def test_examples_differ_in_the_token_alone(tiny_llama, tmp_path):
    policy = loaded(tiny_llama, tmp_path)
    condition(policy, (WON, LOST), seed=0)
    rows = [
        {"prompt": "a", "chosen": "x", "rejected": "y"},
        {"instruction": "b", "output_1": "x", "output_2": "y", "preference": 2},
        {"instruction": "c", "output_1": "x", "output_2": "y", "preference": 1.5},
        {"prompt": "d", "chosen": "x " * 40, "rejected": "y"},
    ]
    pairs = read_pairs(str(write_rows(tmp_path / "p.jsonl", rows)))
    found, dropped = conditioned(pairs, policy.encoder, 40)
    tokenizer = policy.encoder.tokenizer
    told = [
        (
            tokenizer.decode(row.ids[row.n_prompt - 1 : row.n_prompt]),
            tokenizer.decode(row.ids[row.n_prompt : -1]),
        )
        for row in found
    ]
    assert told == [(WON, "x"), (WON, "y"), (LOST, "y"), (LOST, "x"), (LOST, "y")]
    assert dropped == {"ties": 1, "longer than max_length 40 with the answer": 1}
    for row in found:
        assert row.ids[-1] == policy.encoder.end


@pytest.mark.parametrize("template", [True, False], ids=["own template", "no template"])
def test_lora_and_models_without_a_template(template, tmp_path):
    base = make_tiny_llama(tmp_path / "base", chat_template=template)
    data, out = preferences(tmp_path / "p.jsonl"), tmp_path / "out"
    flags = {**FLAGS, "use_peft": True, "learning_rate": 5e-3}
    assert train("reward_conditioning", base, data, out, **flags) == 0
    policy = loaded(out, tmp_path)
    won, lost = (policy.encoder.tokenizer.convert_tokens_to_ids(token) for token in (WON, LOST))
    assert policy.encoder.prompt((Message("user", "?"),))[-1] == won
    ahead = [
        (logprobs(policy, BETTER, token) - logprobs(policy, WORSE, token)).mean().item()
        for token in (won, lost)
    ]
    assert ahead[0] > 1 > -1 > ahead[1]


def test_a_model_that_has_the_tokens_keeps_them(trained, tmp_path):
    policy = loaded(trained, tmp_path)
    size, before = len(policy.encoder.tokenizer), policy.encoder
    table = policy.inner.get_input_embeddings().weight.clone()
    condition(policy, (WON, LOST), seed=5)
    assert len(policy.encoder.tokenizer) == size
    assert policy.encoder.template.digest() == before.template.digest()
    assert torch.equal(policy.inner.get_input_embeddings().weight, table)


def test_a_template_that_takes_no_token_is_refused(tiny_llama, tmp_path, capsys):
    file = tmp_path / "t.jinja"
    file.write_text("{% set add_generation_prompt = false %}{{ messages[-1]['content'] }}")
    data = preferences(tmp_path / "p.jsonl")
    code = train("reward_conditioning", tiny_llama, data, tmp_path / "o", chat_template=file)
    assert code == 2
    assert f"the chat template does not end a prompt with {WON}" in capsys.readouterr().err
