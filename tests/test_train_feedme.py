"""FeedME: the preferred answers grow likelier, and the others are not looked at."""

from __future__ import annotations

import signal

import pytest
import torch
from conftest import read_json, read_lines, write_rows
from preferring import loaded, logprobs
from safetensors.torch import load_file
from test_train_processes import STEPS, recorded, under_fsdp
from training import ASKED, in_processes, metrics, preferences, train

from train_baselines.feedme import feedme_loss
from train_baselines.runtime import storage

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


def test_two_processes_take_the_same_first_step(tiny_llama, tmp_path):
    data = preferences(tmp_path / "p.jsonl")
    found = {}
    for world in (None, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        codes = in_processes(recorded, folder, "feedme", tiny_llama, data, 13, world=world)
        assert set(codes) == {0}
        found[world] = metrics(folder / "out"), load_file(folder / "gradient-0.safetensors")
    ((alone,), one), ((together,), two) = found.values()
    assert alone["loss"] == pytest.approx(together["loss"], rel=1e-5)
    gradient = one["gradient"]
    assert (gradient - two["gradient"]).abs().max() <= 1e-5 * gradient.abs().max()


def test_sharded_weights_are_trained_saved_and_resumed(tiny_llama, tmp_path):
    data, out = preferences(tmp_path / "p.jsonl"), tmp_path / "sharded"
    assert train("feedme", tiny_llama, data, tmp_path / "alone", **STEPS) == 0
    codes = in_processes(under_fsdp, "feedme", tiny_llama, data, out, 3, STEPS, world=2)
    assert -signal.SIGKILL in codes
    assert storage.last_checkpoint(out).name == "step-2"
    codes = in_processes(under_fsdp, "feedme", tiny_llama, data, out, 0, STEPS, world=2)
    assert codes == [0, 0]
    expected, found = (load_file(tmp_path / p / "model.safetensors") for p in ("alone", "sharded"))
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=2e-4)


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
