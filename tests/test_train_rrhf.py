"""RRHF: the loss by hand and by loops, and runs that learn to rank and to answer."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest
import torch
from conftest import read_json, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from preferring import loaded, logprobs
from torch import Tensor
from training import ASKED, candidates, metrics, train

from train_baselines.data.examples import Example, RankedExample, encode_candidates, pad
from train_baselines.data.sources import read_candidates
from train_baselines.models.wrapped import Policy
from train_baselines.rrhf import ranks, rrhf_loss
from train_baselines.runtime import plan
from train_baselines.sampling.rounds import round_of
from train_baselines.sft import sft_loss

NAN = math.nan


# ---------------------------------------------------------------------------------------- the loss
def test_the_loss_by_hand():
    # Means -1, -3 and -2 for the first query, whose best answer is its second; -4 for the other.
    logprobs = torch.tensor([[0, -0.5, -1.5], [0, -3, 0], [0, -1, -3], [0, -6.0, -2]])
    targets = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 1, 1], [0, 1, 1]]).bool()
    scores = torch.tensor([[0.0, 2, 1], [7, NAN, NAN]])
    # Pairs in the wrong order: (-1) - (-3), (-1) - (-2) and (-2) - (-3).
    for kind, fine_tuning in (("sum", (3 + 8) / 2), ("mean", (3 + 4) / 2), ("none", 0)):
        loss, found = rrhf_loss(logprobs, targets, scores, sft_loss=kind, ranking_weight=0.5)
        assert loss.item() == pytest.approx(0.5 * 4 / 2 + fine_tuning)
        assert found["ranking_loss"].item() == pytest.approx(4 / 2)
        assert found["accuracy"].item() == pytest.approx((0 + 0.5) / 2)


def by_loops(
    logprobs: Tensor, targets: Tensor, scores: list[list[float]], weight: float, kind: str
) -> Tensor:
    total, row = torch.zeros(()), 0
    for own in scores:
        means, sums = [], []
        for _ in own:
            kept = [
                p for p, is_target in zip(logprobs[row], targets[row], strict=True) if is_target
            ]
            sums.append(sum(kept))
            means.append(sum(kept) / len(kept))
            row += 1
        for worse in range(len(own)):
            for better in range(len(own)):
                if own[worse] < own[better] and means[worse] > means[better]:
                    total = total + weight * (means[worse] - means[better])
        best = own.index(max(own))
        total = total - {"sum": sums, "mean": means, "none": [0.0] * len(own)}[kind][best]
    return total / len(scores)


QUERIES = st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=5), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(QUERIES, st.integers(0, 99), st.sampled_from([0.0, 1.0, 3.0]), st.sampled_from(["sum", "mean", "none"]))  # fmt: skip
def test_the_loss_is_that_of_loops_over_pairs(scores, seed, weight, kind):
    generator = torch.Generator().manual_seed(seed)
    n, width = sum(map(len, scores)), 6
    targets = torch.zeros(n, width).bool()
    for row in targets:
        begin, end = sorted(torch.randperm(width - 1, generator=generator)[:2].tolist())
        row[begin + 1 : end + 1] = True
    values = -torch.rand(n, width, generator=generator)
    one, other = (values.clone().requires_grad_() for _ in range(2))
    rows = [Example((0,), 0, "")]
    found = ranks([RankedExample(tuple(rows * len(s)), tuple(map(float, s)), 5) for s in scores])
    loss, _ = rrhf_loss(one, targets, found, ranking_weight=weight, sft_loss=kind)
    expected = by_loops(other, targets, scores, weight, kind)
    torch.testing.assert_close(loss, expected)
    if expected.requires_grad:
        loss.backward()
        expected.backward()
        torch.testing.assert_close(one.grad, other.grad)


def test_nothing_pulls_where_the_order_is_right():
    targets = torch.ones(3, 2).bool()
    scores = torch.tensor([[3.0, 1, 1]])
    logprobs = torch.tensor([[-1.0, -1], [-2, -2], [-3, -1.5]], requires_grad=True)
    loss, found = rrhf_loss(logprobs, targets, scores, sft_loss="none")
    loss.backward()
    assert (loss.item(), found["accuracy"].item()) == (0, 1)
    assert not logprobs.grad.any()
    # The same answers with the scores turned round: every better one is pulled up, equal ones not.
    logprobs.grad = None
    rrhf_loss(logprobs, targets, torch.tensor([[1.0, 3, 3]]), sft_loss="none")[0].backward()
    assert torch.equal(logprobs.grad, torch.tensor([[1.0, 1], [-0.5, -0.5], [-0.5, -0.5]]))


def test_what_stands_at_masked_places_changes_nothing():
    logprobs = torch.tensor([[0.0, -1, -2], [0, -3, -1]])
    targets = torch.tensor([[False, True, True], [False, True, False]])
    scores = torch.tensor([[0.0, 1]])
    plain, _ = rrhf_loss(logprobs, targets, scores)
    wide = torch.nn.functional.pad(logprobs, (2, 3), value=-math.inf)
    padded, _ = rrhf_loss(wide, torch.nn.functional.pad(targets, (2, 3)), scores)
    assert plain.item() == padded.item() == 1.5 + 3


def test_one_answer_a_query_is_sft():
    generator = torch.Generator().manual_seed(0)
    logprobs = -torch.rand(5, 7, generator=generator)
    targets = torch.rand(5, 7, generator=generator) < 0.5
    scores = torch.zeros(5, 1)
    per_token = sft_loss(logprobs, targets).item()
    summed, found = rrhf_loss(logprobs, targets, scores)
    assert summed.item() == pytest.approx(per_token * targets.sum().item() / 5, rel=1e-6)
    assert found["ranking_loss"].item() == 0
    mean, _ = rrhf_loss(logprobs[:1], targets[:1], scores[:1], sft_loss="mean")
    assert mean.item() == pytest.approx(sft_loss(logprobs[:1], targets[:1]).item(), rel=1e-6)


def test_scores_that_a_float32_does_not_tell_apart():
    rows = (Example((0,), 0, ""),) * 3
    found = ranks(
        [RankedExample(rows, (1e9, 1e9 + 1, 1e9), 3), RankedExample(rows[:1], (-2.0,), 3)]
    )
    assert found[0].tolist() == [0, 1, 0]
    assert found[1, 0] == 0
    assert found[1, 1:].isnan().all()


# ----------------------------------------------------------------------------------------- batches
@pytest.fixture
def policy(tiny_llama, tmp_path) -> Policy:
    return loaded(tiny_llama, tmp_path)


def test_queries_together_are_queries_one_at_a_time(policy, tmp_path):
    source = str(candidates(tmp_path / "c.jsonl", 6))
    rows = encode_candidates(read_candidates(source), policy.encoder, 64).rows
    assert sorted({len(row.answers) for row in rows}) == [1, 2, 3]
    policy.requires_grad_(True)

    def loss_of(some: list[RankedExample]) -> Tensor:
        tokens = pad([a for row in some for a in row.answers], policy.encoder.pad)
        return rrhf_loss(policy(*tokens), tokens.targets, ranks(some))[0]

    def gradient(loss: Tensor) -> Tensor:
        policy.zero_grad()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in policy.parameters()])

    together = loss_of(rows)
    apart = torch.stack([loss_of([row]) for row in rows]).mean()
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)
    one, other = gradient(together), gradient(apart)
    assert (one - other).abs().max() <= 1e-5 * one.abs().max()


@given(
    st.lists(st.lists(st.integers(2, 30), min_size=1, max_size=6), min_size=1, max_size=20),
    st.integers(60, 400),
)
def test_a_batch_of_queries_keeps_to_the_budget_with_its_padding(lengths, budget):
    most = max(map(len, lengths))
    rows = [
        RankedExample(tuple(Example((0,) * n, 1, "") for n in own), (0.0,) * len(own), most)
        for own in lengths
    ]
    for batch in plan.cut(range(len(rows)), [row.length for row in rows], budget):
        answers = [answer for n in batch for answer in rows[n].answers]
        padded = len(answers) * max(answer.length for answer in answers)
        assert padded <= budget or len(batch) == 1
        assert sum(rows[n].n_tokens for n in batch) == sum(len(answer.ids) for answer in answers)


@given(st.integers(1, 50), st.integers(1, 12))
def test_rounds_follow_one_another_through_all_steps(total, rounds):
    found = [round_of(step, total, rounds=rounds) for step in range(total)]
    assert all(step in steps for step, steps in enumerate(found))
    assert [step for steps in dict.fromkeys(found) for step in steps] == list(range(total))
    assert len(set(found)) == min(rounds, total)


# ------------------------------------------------------------------------------------ offline runs
FLAGS = {"batch_size": 10, "num_train_epochs": 2, "learning_rate": 3e-4}


def ranked(path: Path) -> Path:
    """Three answers to each prompt, in any order: a refusal is the best, the word the worst, which a
    random model has the other way round."""
    rows = []
    for n, text in enumerate(ASKED):
        answers = ["no " * (1 + n % 3), "perhaps", f"{text.split()[1]} yes"]
        order = sorted(range(3), key=lambda k, n=n: (k + n) % 3)
        responses, scores = [answers[k] for k in order], [float(-k) for k in order]
        rows.append({"query": text, "responses": responses, "scores": scores})
    return write_rows(path, rows)


@pytest.mark.parametrize("more", [{}, {"sft_loss": "none"}, {"use_peft": True, "sft_loss": "mean"}])
def test_it_learns_the_order(more, tiny_llama, tmp_path):
    data, out = ranked(tmp_path / "r.jsonl"), tmp_path / "out"
    assert train("rrhf", tiny_llama, data, out, **FLAGS, **more) == 0
    lines = metrics(out)
    assert len(lines) == 8
    assert lines[-1]["accuracy"] > lines[0]["accuracy"] + 0.4
    assert lines[-1]["ranking_loss"] < lines[0]["ranking_loss"] / 2
    best = ["no " * (1 + n % 3) for n in range(len(ASKED))]
    worst = [f"{text.split()[1]} yes" for text in ASKED]
    before, after = (loaded(path, tmp_path) for path in (tiny_llama, out))
    lead = [(logprobs(p, best) - logprobs(p, worst)).mean().item() for p in (before, after)]
    assert lead[1] > lead[0] + 1
    facts = read_json(out / "train_config.json")["facts"]
    assert facts == {"examples": 40, "steps": 8, "dropped": {}, "unranked": 0}


def test_without_the_ranking_term_the_worst_is_not_pushed_down(tiny_llama, tmp_path):
    data = ranked(tmp_path / "r.jsonl")
    for weight in (0, 3):
        out = tmp_path / str(weight)
        assert train("rrhf", tiny_llama, data, out, **FLAGS, ranking_weight=weight) == 0
    assert metrics(tmp_path / "0")[-1]["ranking_loss"] > metrics(tmp_path / "3")[-1]["ranking_loss"]


def test_a_run_on_single_answers_is_a_run_of_sft(tiny_llama, tmp_path, capsys):
    asked = ASKED[:6]
    flags = {"batch_size": 1, "max_steps": 4, "learning_rate": 1e-3, "lr_scheduler_type": "linear"}
    demos = [{"prompt": text, "completion": text.split()[1]} for text in asked]
    alone = [{"query": text, "responses": [text.split()[1]], "scores": [n]}
             for n, text in enumerate(asked)]  # fmt: skip
    for method, rows, more in (("sft", demos, {}), ("rrhf", alone, {"sft_loss": "mean"})):
        data = write_rows(tmp_path / f"{method}.jsonl", rows)
        assert train(method, tiny_llama, data, tmp_path / method, **flags, **more) == 0
    told = capsys.readouterr().out
    assert "6 examples; 6 answers; 6 have no two scores that differ: nothing to rank" in told
    one, other = metrics(tmp_path / "sft"), metrics(tmp_path / "rrhf")
    for name in ("loss", "grad_norm", "tokens"):
        assert [line[name] for line in one] == pytest.approx(
            [line[name] for line in other], rel=1e-6
        )
    assert statistics.fmean(line["accuracy"] for line in other) == 0.5


# --------------------------------------------------------------------------------------- bad input
ASK = {"query": "Say red", "responses": ["red", "no"], "scores": [1, 0]}
LONG = "please " * 60


@pytest.mark.parametrize(
    ("row", "flags", "told"),
    [
        ({"scores": [1]}, {}, "line 2: 2 responses and 1 scores"),
        ({"responses": []}, {}, "line 2: 0 responses and 2 scores"),
        ({"scores": [1, "x"]}, {}, "line 2: scores must be a list of numbers"),
        ({"responses": "red"}, {}, "line 2: responses must be a list of texts"),
        ({"query": None}, {}, "line 2: no prompt"),
        ({}, {"ranking_weight": 0, "sft_loss": "none"}, "nothing is left to be learnt"),
        ({}, {"ranking_weight": -1}, "ranking_weight = -1.0: it cannot be negative"),
        ({}, {"resample_steps": 2}, "resample_steps = 2: answers are drawn where a --reward-model"),
        ({}, {"rounds": 3}, "rounds = 3: answers are drawn where a --reward-model"),
        ({}, {"kl_coef": 0.1}, "kl_coef = 0.1: answers are drawn where a --reward-model"),
        ({}, {"reward_model": "r", "rounds": 3, "resample_steps": 2}, "one of them, not by both"),
        ({}, {"reward_model": "r", "rounds": 2}, "they must divide num_train_epochs, 3"),
        ({}, {"reward_model": "r", "temperature": 0}, "temperature = 0: all samples"),
        ({}, {"reward_model": "r", "n": 0}, "n = 0: at least 1"),
        ({}, {"max_length": 4}, "no examples are left"),
    ],
)
def test_what_cannot_be_trained_is_said(row, flags, told, tiny_llama, tmp_path, capsys):
    data = write_rows(tmp_path / "bad.jsonl", [ASK, {**ASK, **row}])
    assert train("rrhf", tiny_llama, data, tmp_path / "out", **flags) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert "Traceback" not in captured.err


def test_what_is_dropped_is_counted(tiny_llama, tmp_path, capsys):
    rows = [
        ASK,
        {**ASK, "responses": ["red", LONG]},
        {**ASK, "responses": [LONG, LONG]},
        {**ASK, "query": LONG},
        {**ASK, "scores": [1, 1]},
    ]
    data, out = write_rows(tmp_path / "d.jsonl", rows), tmp_path / "out"
    assert train("rrhf", tiny_llama, data, out, max_length=80, max_steps=1) == 0
    facts = read_json(out / "train_config.json")["facts"]
    assert facts["dropped"] == {
        "answers longer than max_length 80 with the prompt": 3,
        "prompts of which no answer is left": 1,
        "prompts that fill max_length 80": 1,
    }
    assert (facts["examples"], facts["unranked"]) == (3, 2)
    assert "3 examples; dropped 3: answers longer" in capsys.readouterr().out


def test_nothing_to_rank_and_nothing_to_tune_on(tiny_llama, tmp_path, capsys):
    data = write_rows(tmp_path / "d.jsonl", [{**ASK, "scores": [1, 1]}])
    assert train("rrhf", tiny_llama, data, tmp_path / "out", sft_loss="none") == 2
    assert "no query has two answers with different scores" in capsys.readouterr().err
