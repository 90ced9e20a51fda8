"""FeedME: the preferred answers grow likelier, and the others are not looked at."""

from __future__ import annotations

import pytest
import torch
from conftest import read_json, read_lines, write_rows
from preferring import loaded, logprobs
from training import ASKED, preferences, train

from train_baselines.feedme import feedme_loss

FLAGS = {"batch_size": 10, "num_train_epochs": 3, "learning_rate": 5e-4}
BETTER = [f"{text.split()[1]} yes" for text in ASKED]
WORSE = ["no " * (1 + n % 3) for n in range(len(ASKED))]


def test_feedme_loss_by_hand():
    logprobs = torch.tensor([[0.0, -1.0, -2.0], [0.0, -5.0, -9.0]])
    targets = torch.tensor([[False, True, True], [False, True, False]])
    assert feedme_loss(logprobs, targets).item() == pytest.approx((1 + 2 + 5) / 3)


@pytest.mark.parametrize("flags", [{}, {"use_peft": True, "learning_rate": 3e-3}], ids=["", "lora"])
def test_preferred_answers_grow_likelier(flags, tiny_llama, tmp_path):
    data, out = preferences(tmp_path / "p.jsonl"), tmp_path / "out"
    assert train("feedme", tiny_llama, data, out, **{**FLAGS, **flags}) == 0
    before, after = (loaded(path, tmp_path) for path in (tiny_llama, out))
    grown = (logprobs(after, BETTER) - logprobs(before, BETTER)).mean()
    assert grown > 5
    assert logprobs(after, BETTER).mean() > logprobs(after, WORSE).mean() + 1
    assert read_json(out / "train_config.json")["facts"]["examples"] == len(ASKED)


def test_the_worse_answers_do_not_matter_and_ties_are_counted(tiny_llama, tmp_path):
    rows = read_lines(preferences(tmp_path / "p.jsonl"))
    for row in rows:
        row["output_1" if row["preference"] else "output_2"] += "whatever"
    rows += [{**rows[0], "preference": 0.5}] * 3
    other = write_rows(tmp_path / "other.jsonl", rows)
    for name, data in (("one", tmp_path / "p.jsonl"), ("two", other)):
        assert train("feedme", tiny_llama, data, tmp_path / name, **FLAGS, max_steps=2) == 0
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    assert read_json(tmp_path / "two" / "train_config.json")["facts"]["dropped"] == {"ties": 3}


def test_pairs_that_cannot_be_used_are_refused(tiny_llama, tmp_path, capsys):
    tie = {"prompt": "a", "output_1": "x", "output_2": "y", "preference": 1.5}
    data = write_rows(tmp_path / "p.jsonl", [tie])
    assert train("feedme", tiny_llama, data, tmp_path / "o") == 2
    told = capsys.readouterr()
    assert "0 examples; dropped 1: ties" in told.out
    assert "no examples are left" in told.err
    data = write_rows(tmp_path / "p.jsonl", [{"prompt": "a", "chosen": "x", "rejected": "x"}])
    assert train("feedme", tiny_llama, data, tmp_path / "o") == 2
    assert "line 1: the two answers are equal" in capsys.readouterr().err
