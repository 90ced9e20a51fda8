"""Expert iteration: rewards rise over the policy it began with, and again with each round."""

from __future__ import annotations

import os
import signal
import statistics
from pathlib import Path

import pytest
import torch
from conftest import files_of, read_json, read_lines
from preferring import liking_yes, prompts, undecided
from test_train_processes import recorded
from training import ASKED, MAIN, in_processes, look_sharded, metrics, train

from train_baselines import best_of_n, expert_iteration
from train_baselines.expert_iteration import expert_loss
from train_baselines.runtime import storage
from train_baselines.runtime.run import Run

FLAGS = {
    "n": 4, "rounds": 2, "num_train_epochs": 2, "batch_size": 14, "learning_rate": 3e-4,
    "max_new_tokens": 8, "save_steps": 2, "max_length": 64,
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tiny_llama, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    policy = undecided(tiny_llama, folder)
    return policy, liking_yes(policy, folder)


def iterate(models: tuple[Path, Path], data: Path, out: Path, **flags: object) -> int:
    policy, reward = models
    given = {"reward_model": reward, **FLAGS, **flags}
    return train("expert_iteration", policy, data, out, **given)


def mean_reward(policy: Path, reward: Path, data: Path, output: Path) -> float:
    args = ["--model-name-or-path", policy, "--reward-model", reward, "--dataset", data,
            "--output", output, "--n", 4, "--max-new-tokens", 8, "--seed", 9]  # fmt: skip
    assert best_of_n.main([str(one) for one in args]) == 0
    found = read_lines(output.with_suffix(".run") / "rewards.jsonl")
    return statistics.fmean(one["mean_score"] for one in found)


def test_expert_loss_by_hand():
    logprobs = torch.tensor([[0.0, -1.0, -2.0], [0.0, -5.0, -9.0]])
    targets = torch.tensor([[False, True, True], [False, True, False]])
    assert expert_loss(logprobs, targets).item() == pytest.approx((1 + 2 + 5) / 3)


def test_its_rewards_rise(models, tmp_path):
    data, out = prompts(tmp_path / "p.jsonl", len(ASKED)), tmp_path / "out"
    assert iterate(models, data, out) == 0
    lines = metrics(out)
    assert len(lines) == 6
    first, second = (line for line in lines if "mean_reward" in line)  # one a round
    assert (first["step"], second["step"]) == (1, 4)
    assert first["reward"] > first["mean_reward"] + 0.5
    assert second["mean_reward"] > first["mean_reward"] + 0.5
    policy, reward = models
    before = mean_reward(policy, reward, data, tmp_path / "before.jsonl")
    after = mean_reward(out, reward, data, tmp_path / "after.jsonl")
    assert after > before + 1
    assert first["mean_reward"] == pytest.approx(before, abs=1)
    run = read_json(out / "train_config.json")
    assert (run["method"], run["finished"]) == ("expert_iteration", True)
    assert not list(out.glob("kept-*"))


def test_a_killed_run_ends_with_the_same_bytes(models, tmp_path):
    data = prompts(tmp_path / "p.jsonl", len(ASKED))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    # Answers of many kinds, so that another policy would not draw the same.
    flags = {"temperature": 1.5, "top_p": 1.0, "n": 2}
    assert iterate(models, data, whole, **flags) == 0

    def killed(at: int) -> None:
        end = Run._end_step

        def kill(self: Run, epoch: float) -> None:
            if self.step > at:
                os.kill(os.getpid(), signal.SIGKILL)
            end(self, epoch)

        Run._end_step = kill
        iterate(models, data, parts, **flags)

    # In the first round before any checkpoint, and in the second, which the policy of step 3 drew.
    for at, rounds in ((1, 1), (4, 2)):
        assert in_processes(lambda step=at: killed(step)) == [-signal.SIGKILL]
        assert len(list(parts.glob("kept-round-*"))) == rounds
    assert storage.last_checkpoint(parts).name == "step-4"
    assert iterate(models, data, parts, **flags) == 0
    wrote, expected = files_of(parts), files_of(whole)
    assert set(wrote) == set(expected)
    assert wrote["model.safetensors"] == expected["model.safetensors"]
    untimed = ({k: v for k, v in line.items() if k != "seconds"} for line in metrics(parts))
    assert list(untimed) == [
        {k: v for k, v in line.items() if k != "seconds"} for line in metrics(whole)
    ]


def test_each_round_draws_with_other_numbers(models, tmp_path):
    data = prompts(tmp_path / "p.jsonl", 7)
    assert iterate(models, data, tmp_path / "out", learning_rate=1e-12) == 0
    first, second = (line["mean_reward"] for line in metrics(tmp_path / "out"))
    assert abs(first - second) > 1e-3


def test_two_processes_take_the_same_first_step(models, tmp_path, monkeypatch):
    policy, reward = models
    data = prompts(tmp_path / "p.jsonl", 9)

    def main(args: list[str]) -> int:
        more = {"reward_model": reward, "n": 3, "max_new_tokens": 8, "max_length": 64}
        return expert_iteration.main([*args, *[x for k, v in more.items() for x in (f"--{k}", str(v))]])  # fmt: skip

    monkeypatch.setitem(MAIN, "expert_iteration", main)
    lines = []
    for world in (None, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        codes = in_processes(recorded, folder, "expert_iteration", policy, data, 7, world=world)
        assert set(codes) == {0}
        lines += metrics(folder / "out")
    alone, together = lines
    for name in ("loss", "grad_norm", "reward", "mean_reward", "tokens"):
        assert alone[name] == pytest.approx(together[name], rel=1e-5)


# ---------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"rounds": 0}, "rounds = 0: at least 1"),
        ({"rounds": 2, "num_train_epochs": 3}, "rounds = 2: they must divide num_train_epochs, 3"),
        ({"top_p": 0}, "top_p = 0.0"),
        ({"max_length": 12}, "no examples are left"),
        ({"reward_model": "no/where/at/all"}, "there is no such folder"),
    ],
)
def test_wrong_settings_are_refused(flags, told, models, tmp_path, capsys):
    data = prompts(tmp_path / "p.jsonl", 2)
    assert iterate(models, data, tmp_path / "out", **flags) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert "Traceback" not in captured.err
    if "max_length" in flags:
        assert "0 prompts; dropped 2: prompts without room for max_new_tokens" in captured.out


def test_fsdp_is_refused(models, tmp_path, capsys, monkeypatch):
    data = prompts(tmp_path / "p.jsonl", 2)
    look_sharded(monkeypatch)
    assert iterate(models, data, tmp_path / "out") == 2
    assert "launch it under DDP" in capsys.readouterr().err
