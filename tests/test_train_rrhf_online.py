"""RRHF on samples of its own: rewards rise, a penalty holds them, and a killed run draws the same."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from bandits import small_config
from conftest import edit_json, files_of, read_lines
from preferring import loaded, prompts, undecided
from test_train_processes import recorded
from training import ASKED, MAIN, in_processes, look_sharded, metrics, train
from transformers import AutoTokenizer, LlamaForSequenceClassification

from judges.schema import Message
from train_baselines import rrhf
from train_baselines.data.examples import Example, pad
from train_baselines.models.loading import load_scalar_model
from train_baselines.models.wrapped import Policy
from train_baselines.runtime import storage
from train_baselines.runtime.run import Run
from train_baselines.sampling.sampler import score
from train_baselines.sampling.selecting import question
from train_baselines.sft import SFTConfig

FLAGS = {
    "batch_size": 10, "num_train_epochs": 2, "learning_rate": 3e-4, "max_new_tokens": 8,
    "max_length": 64, "temperature": 1.0,
}  # fmt: skip


def counting(tiny: Path, folder: Path) -> Path:
    """A reward model by hand: it looks at all tokens alike, and the more of them are "y" the more it
    gives."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    model = LlamaForSequenceClassification(small_config(tokenizer))
    with torch.no_grad():
        layer = model.model.layers[0]
        for weight in (p for p in layer.parameters() if p.ndim == 2):
            weight.zero_()
        model.model.embed_tokens.weight.zero_()
        model.score.weight.zero_()
        model.model.embed_tokens.weight[:, 0] = 1.0
        model.model.embed_tokens.weight[tokenizer.convert_tokens_to_ids("y"), 1] = 1.0
        layer.self_attn.v_proj.weight[0, 1] = 1.0
        layer.self_attn.o_proj.weight[2, 0] = 1.0
        model.score.weight[0, 2] = 10.0
    model.save_pretrained(folder / "counting")
    tokenizer.save_pretrained(folder / "counting")
    return folder / "counting"


@pytest.fixture(scope="module")
def models(tiny_llama, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return undecided(tiny_llama, folder), counting(tiny_llama, folder)


def online(models: tuple[Path, Path], data: Path, out: Path, **flags: object) -> int:
    policy, reward = models
    return train("rrhf", policy, data, out, **{"reward_model": reward, **FLAGS, **flags})


def begun(out: Path) -> list[dict[str, Any]]:
    """The lines of the first steps of rounds."""
    return [line for line in metrics(out) if "mean_reward" in line]


def test_the_reward_model_by_hand_counts(models, tmp_path):
    config = SFTConfig(model_name_or_path="", dataset="", output_dir=tmp_path / "unused")
    model = load_scalar_model(str(models[1]), config, Run("look", config))
    asked = (Message("user", "Go"),)
    texts = ["no", "red yes", "yes yes", "yyyy"]
    found = score(model, [model.encoder.scored(asked, text, "") for text in texts])
    assert found[0] == pytest.approx(0, abs=1e-5)
    assert found == sorted(found)
    assert found[3] > found[2] + 0.5 > found[1] + 1


def test_its_rewards_rise(models, tmp_path):
    data, out = prompts(tmp_path / "p.jsonl", len(ASKED)), tmp_path / "out"
    assert online(models, data, out, resample_steps=2) == 0
    lines = begun(out)
    assert [line["step"] for line in lines] == [1, 3, 5, 7]
    assert all(line["reward"] > line["mean_reward"] for line in lines)
    assert lines[-1]["mean_reward"] > lines[0]["mean_reward"] + 1
    assert not list(out.glob("kept-*"))
    assert not any("kl" in line for line in metrics(out))


def test_rounds_draw_for_all_prompts_anew(models, tmp_path):
    data, out = prompts(tmp_path / "p.jsonl", 12), tmp_path / "out"
    asked: list[int] = []
    drawn = rrhf.rounds.drawn

    def counted(run: Run, steps: range, questions: list[Any], *others: Any) -> list[Any]:
        asked.append(len(questions))
        return drawn(run, steps, questions, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rrhf.rounds, "drawn", counted)
        assert online(models, data, out, rounds=2, learning_rate=1e-9) == 0
    assert asked == [12, 12]
    first, second = begun(out)
    assert (first["step"], second["step"]) == (1, 3)
    assert abs(first["mean_reward"] - second["mean_reward"]) > 1e-3  # other random numbers


# -------------------------------------------------------------------------------- held to the start
@pytest.mark.parametrize(
    "more", [{}, {"use_peft": True, "lora_dropout": 0.3}], ids=["full", "lora"]
)
def test_the_penalty_is_what_the_policy_has_moved(more, models, tmp_path):
    """Of a run that was killed right behind its second round of samples, which is kept."""
    data, out = prompts(tmp_path / "p.jsonl", 20), tmp_path / "out"
    end = Run._end_step

    def kill(self: Run, epoch: float) -> None:
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        end(self, epoch)

    def killed() -> None:
        Run._end_step = kill
        online(models, data, out, resample_steps=1, kl_coef=0.3, export_steps=1, **more)

    assert in_processes(killed) == [-signal.SIGKILL]
    (first,) = begun(out)
    assert first["kl"] == 0
    lines = read_lines(out / "kept-round-1" / "drawn.jsonl")
    assert len(lines) == 10
    start, moved = (loaded(path, tmp_path) for path in (models[0], out / "step-1"))
    asked = [question((Message("user", text),), start.encoder, "") for text in ASKED[:20]]
    prompt_of = {one.key: one.prompt for one in asked}

    def likelihoods(policy: Policy) -> torch.Tensor:
        rows = [
            Example((*prompt_of[line["prompt"]], *answer), len(prompt_of[line["prompt"]]), "")
            for line in lines
            for answer in line["drawn"]["answers"]
        ]
        with torch.no_grad():
            return policy(*pad(rows, policy.encoder.pad)).sum(1)

    kept = torch.tensor([kl for line in lines for kl in line["drawn"]["kls"]])
    assert len(kept) == 40
    assert kept.abs().max() > 0.01
    torch.testing.assert_close(kept, likelihoods(moved) - likelihoods(start), rtol=0, atol=2e-4)


def test_the_penalty_is_part_of_the_score():
    samples = rrhf.Samples(((1,), (2,), (3,)), (1.0, 2.0, 3.0), (0.0, 0.5, 4.0))
    assert samples.scores(0) == (1, 2, 3)
    assert samples.scores(0.5) == (1, 1.75, 1)


def test_a_penalty_prefers_what_the_policy_was_likely_to_say_before(models, tmp_path):
    data, found = prompts(tmp_path / "p.jsonl", len(ASKED)), {}
    for coef in (1e-6, 10):
        out = tmp_path / str(coef)
        assert online(models, data, out, resample_steps=2, kl_coef=coef, max_steps=3) == 0
        found[coef] = begun(out)
    (first, plain), (same, held) = found.values()
    # At first nothing has moved, and nothing is held back; then of the same samples others are best.
    assert {k: v for k, v in first.items() if k != "seconds"} == {
        k: v for k, v in same.items() if k != "seconds"
    }
    assert plain["kl"] == held["kl"] > 0.1
    assert plain["mean_reward"] == held["mean_reward"] > first["mean_reward"]
    assert plain["reward"] > held["reward"] + 0.3


# ------------------------------------------------------------------------------ killed, and dealt
def test_a_killed_run_ends_with_the_same_bytes(models, tmp_path):
    data = prompts(tmp_path / "p.jsonl", len(ASKED))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    flags = {"resample_steps": 3, "kl_coef": 0.1, "n": 2, "save_steps": 4}
    assert online(models, data, whole, **flags) == 0

    def killed(at: int) -> None:
        end = Run._end_step

        def kill(self: Run, epoch: float) -> None:
            if self.step > at:
                os.kill(os.getpid(), signal.SIGKILL)
            end(self, epoch)

        Run._end_step = kill
        online(models, data, parts, **flags)

    # In the first round before any checkpoint; in the second, which the policy of step 3 drew; and in
    # the third, when no checkpoint needs the first any more.
    for at, starts in ((1, {0}), (4, {0, 3}), (6, {3, 6})):
        assert in_processes(lambda step=at: killed(step)) == [-signal.SIGKILL]
        assert {path.name for path in parts.glob("kept-round-*")} == {
            f"kept-round-{start}" for start in starts
        }
    assert storage.last_checkpoint(parts).name == "step-4"
    assert online(models, data, parts, **flags) == 0
    wrote, expected = files_of(parts), files_of(whole)
    assert set(wrote) == set(expected)
    assert wrote["model.safetensors"] == expected["model.safetensors"]
    untimed = ({k: v for k, v in line.items() if k != "seconds"} for line in metrics(parts))
    assert list(untimed) == [
        {k: v for k, v in line.items() if k != "seconds"} for line in metrics(whole)
    ]


def test_two_processes_take_the_same_first_step(models, tmp_path, monkeypatch):
    policy, reward = models
    data = prompts(tmp_path / "p.jsonl", 9)

    def main(args: list[str]) -> int:
        more = {"reward_model": reward, "n": 3, "max_new_tokens": 8, "max_length": 64,
                "kl_coef": 0.1, "resample_steps": 1}  # fmt: skip
        return rrhf.main([*args, *[x for k, v in more.items() for x in (f"--{k}", str(v))]])

    monkeypatch.setitem(MAIN, "rrhf", main)
    lines = []
    for world in (None, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        assert set(in_processes(recorded, folder, "rrhf", policy, data, 7, world=world)) == {0}
        lines += metrics(folder / "out")
    alone, together = lines
    for name in (
        "loss",
        "ranking_loss",
        "accuracy",
        "grad_norm",
        "reward",
        "mean_reward",
        "tokens",
    ):
        assert alone[name] == pytest.approx(together[name], rel=1e-5)


# -------------------------------------------------------------------------------------- bad input
def test_answers_that_the_reward_model_cannot_read(models, tmp_path, capsys):
    policy, reward = models
    small = tmp_path / "small"
    shutil.copytree(reward, small)
    edit_json(small / "config.json", max_position_embeddings=10)
    data = prompts(tmp_path / "p.jsonl", 2)
    assert online((policy, small), data, tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "no answer fits the window of" in told
    assert "lower --max-new-tokens" in told


def test_prompts_without_room_are_dropped_and_counted(models, tmp_path, capsys):
    data = prompts(tmp_path / "p.jsonl", 2)
    assert online(models, data, tmp_path / "out", max_length=9) == 2
    captured = capsys.readouterr()
    assert "0 prompts; dropped 2: prompts without room for max_new_tokens" in captured.out
    assert "no examples are left" in captured.err


def test_fsdp_is_refused(models, tmp_path, capsys, monkeypatch):
    data = prompts(tmp_path / "p.jsonl", 2)
    look_sharded(monkeypatch)
    assert online(models, data, tmp_path / "out") == 2
    assert "rrhf draws answers with whole weights" in capsys.readouterr().err
