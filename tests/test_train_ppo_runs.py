"""PPO's runs: it reaches a known optimum, on one process or two, killed or not, and keeps its best."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from bandits import ARMS, asked, bandit, chances, paying
from conftest import edit_json, files_of, read_json
from safetensors.torch import load_file
from test_train_processes import recorded
from tiny_model import make_tiny_llama
from training import MAIN, in_processes, metrics, train

from train_baselines import ppo
from train_baselines.runtime import storage
from train_baselines.runtime.run import Run

FLAGS = {
    "batch_size": 16, "step_batch_size": 8, "learning_rate": 1e-3, "max_new_tokens": 2,
    "max_length": 64, "save_steps": 2, "kl_estimator": "k1", "kl_coef": 0.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tiny_llama, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("bandit")
    policy = bandit(tiny_llama, folder)
    return policy, paying(policy, folder)


def improve(models: tuple[Path, Path], data: Path, out: Path, **flags: object) -> int:
    policy, reward = models
    return train("ppo", policy, data, out, **{"reward_model": reward, **FLAGS, **flags})


def untimed(out: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in one.items() if "seconds" not in k} for one in metrics(out)]


@pytest.mark.parametrize("value_model", ["separate", "shared"])
def test_it_reaches_the_optimum_of_a_bandit(value_model, models, tmp_path):
    """With a reward r and a KL of weight β the best policy is π_ref exp(r / β), normalised."""
    before = chances(models[0], tmp_path)
    best = before * (torch.tensor(list(ARMS.values())) / 0.3).exp()
    best = best / best.sum(1, keepdim=True)
    assert (best - before).abs().max() > 0.35
    flags = {"kl_coef": 0.3, "missing_eos_penalty": 0, "max_new_tokens": 1, "batch_size": 96,
             "step_batch_size": 96, "learning_rate": 3e-3, "max_steps": 25}  # fmt: skip
    out = tmp_path / "out"
    data = asked(tmp_path / "p.jsonl", 12)
    assert improve(models, data, out, value_model=value_model, **flags) == 0
    assert (chances(out, tmp_path) - best).abs().max() < 0.04
    first, *_, last = metrics(out)
    assert first["kl"] == 0
    assert 0.2 < last["kl"] < 0.8  # an estimate of 0.47
    assert last["reward"] > first["reward"] + 0.25
    assert last["entropy"] < first["entropy"] - 0.3
    if value_model == "shared":  # the separate one reads nothing from states that are all zero
        assert last["value_error"] < first["value_error"] / 10


@pytest.mark.parametrize("flags", [{}, {"value_model": "shared", "use_peft": True}])
def test_two_processes_take_the_same_first_update(flags, models, tmp_path, monkeypatch):
    policy, reward = models
    flags = {"reward_model": reward, **FLAGS, "noptepochs": 1, "step_batch_size": 99, **flags}

    def main(args: list[str]) -> int:
        given = [x for k, v in flags.items() for x in (f"--{k}", str(v)) if f"--{k}" not in args]
        return ppo.main([*args, *given])

    monkeypatch.setitem(MAIN, "ppo", main)
    found = []
    for world in (None, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        codes = in_processes(
            recorded, folder, "ppo", policy, asked(tmp_path / "p.jsonl"), 7, world=world
        )
        assert set(codes) == {0}
        found.append((metrics(folder / "out")[0],
                      load_file(folder / "gradient-0.safetensors")["gradient"]))  # fmt: skip
    (alone, gradient), (together, other) = found
    for name in set(alone) - {"seconds", "seconds_rollout", "seconds_update"}:
        assert alone[name] == pytest.approx(together[name], rel=1e-5, abs=1e-6)
    assert (gradient - other).abs().max() <= 1e-5 * gradient.abs().max()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize(
    "flags",
    [
        {"kl_target": 0.05, "standardise_scores": True},
        {"value_model": "shared", "use_peft": True, "lora_dropout": 0.3, "batch_size": 12},
    ],
    ids=["all weights", "lora"],
)
def test_a_killed_run_ends_with_the_same_bytes(flags, models, tmp_path):
    data, held_out = asked(tmp_path / "p.jsonl", 2), asked(tmp_path / "v.jsonl", 1)
    flags = {**flags, "eval_dataset": held_out, "eval_steps": 1, "max_steps": 6}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert improve(models, data, whole, **flags) == 0

    def killed(at: int) -> None:
        end = Run._end_step

        def kill(self: Run, epoch: float) -> None:
            if self.step > at:
                os.kill(os.getpid(), signal.SIGKILL)
            end(self, epoch)

        Run._end_step = kill
        improve(models, data, parts, **flags)

    for at, last in ((1, None), (3, "step-2"), (5, "step-4")):
        assert in_processes(lambda step=at: killed(step)) == [-signal.SIGKILL]
        found = storage.last_checkpoint(parts)
        assert (found and found.name) == last
        assert 1 <= len(list(parts.glob("kept-best-*"))) <= 3
    assert improve(models, data, parts, **flags) == 0
    wrote, expected = files_of(parts), files_of(whole)
    assert set(wrote) == set(expected)
    for name in wrote:
        if name.endswith(".safetensors"):
            assert wrote[name] == expected[name]
    assert untimed(parts) == untimed(whole)
    assert not list(parts.glob("kept-*"))


def test_it_goes_on_where_another_best_was_kept_after_the_checkpoint(models, tmp_path):
    """The best as of the checkpoint stays until a later checkpoint, as a GPU may not repeat bits."""
    data, out = asked(tmp_path / "p.jsonl", 1), tmp_path / "out"
    flags = {"eval_dataset": data, "eval_steps": 1, "max_steps": 6, "batch_size": 8,
             "max_new_tokens": 1}  # fmt: skip

    def killed() -> None:
        from train_baselines.runtime.best import Best

        add, figures = Best.add, iter([0.0, 1.0, 2.0, 3.0, 4.0])

        def rising(self: Best, figure: float, step: int) -> None:
            add(self, next(figures), step)
            if step == 4:
                os.kill(os.getpid(), signal.SIGKILL)

        Best.add = rising
        improve(models, data, out, **flags)

    assert in_processes(killed) == [-signal.SIGKILL]
    assert sorted(p.name for p in out.glob("kept-best-*")) == ["kept-best-2", "kept-best-4"]
    assert improve(models, data, out, **flags) == 0


# -------------------------------------------------------------------------------- what is kept
def test_the_best_policy_is_what_it_ends_with(models, tmp_path):
    data, held_out = asked(tmp_path / "p.jsonl", 4), asked(tmp_path / "v.jsonl", 8)
    out = tmp_path / "out"
    flags = {"eval_dataset": held_out, "eval_steps": 2, "export_steps": 2, "max_steps": 12,
             "max_new_tokens": 1, "batch_size": 32, "step_batch_size": 32, "kl_coef": 0,
             "learning_rate": 1e-2, "missing_eos_penalty": 0}  # fmt: skip
    assert improve(models, data, out, **flags) == 0
    figures = {one["step"]: one["eval_reward"] for one in metrics(out) if "eval_reward" in one}
    assert list(figures) == [2, 4, 6, 8, 10, 12]
    best = max(figures, key=lambda step: figures[step])  # the first of equal ones
    facts = read_json(out / "train_config.json")["facts"]
    assert (facts["best_step"], facts["eval_reward"]) == (best, figures[best])
    assert figures[best] > 0.4
    weights = load_file(out / "model.safetensors")
    for name, tensor in load_file(out / f"step-{best}" / "model.safetensors").items():
        assert torch.equal(weights[name], tensor)


def test_a_run_that_gets_worse_ends_with_what_it_began(models, tmp_path, capsys):
    policy, _ = models
    # The reward model dislikes ends, and what is taken from answers without one outweighs that.
    reward = paying(policy, tmp_path, also="Ċ", extra=-1.0)
    data, held_out = asked(tmp_path / "p.jsonl", 4), asked(tmp_path / "v.jsonl", 8)
    flags = {"reward_model": reward, "eval_dataset": held_out, "eval_steps": 2, "max_steps": 30,
             "early_stopping_patience": 2, "missing_eos_penalty": 5, "learning_rate": 3e-3,
             "batch_size": 32, "step_batch_size": 32}  # fmt: skip
    out = tmp_path / "out"
    assert improve(models, data, out, **flags) == 0
    lines = metrics(out)
    assert lines[-1]["step"] == 4
    assert "the best policy is that after 0 steps" in capsys.readouterr().out
    assert lines[0]["missing_eos"] > 0.3
    assert lines[-1]["missing_eos"] < lines[0]["missing_eos"] - 0.1
    weights = load_file(out / "model.safetensors")
    for name, tensor in load_file(policy / "model.safetensors").items():
        assert torch.equal(weights[name], tensor)


def test_the_reward_model_sees_whether_an_answer_ended(models, tmp_path):
    reward = paying(models[0], tmp_path, also="Ċ", extra=2.0)
    data = asked(tmp_path / "p.jsonl", 1)
    flags = {"reward_model": reward, "max_steps": 1, "batch_size": 8, "temperature": 0.3}
    for n_tokens, share, low, high in ((1, 1.0, -0.4, 0.6), (4, 0.0, 1.999, 2.001)):
        out = tmp_path / str(n_tokens)
        assert improve(models, data, out, max_new_tokens=n_tokens, **flags) == 0
        (line,) = metrics(out)
        assert line["missing_eos"] == share
        assert low <= line["reward"] <= high
        assert 1 <= line["response_length"] <= n_tokens


def test_lora_trains_adapters_and_heads_alone(models, tmp_path, capsys):
    data, out = asked(tmp_path / "p.jsonl", 4), tmp_path / "out"
    flags = {"use_peft": True, "max_new_tokens": 1, "max_steps": 10, "batch_size": 32,
             "step_batch_size": 32, "learning_rate": 1e-2, "missing_eos_penalty": 0}  # fmt: skip
    assert improve(models, data, out, **flags) == 0
    assert "training " in capsys.readouterr().out
    first, *_, last = metrics(out)
    assert first["kl"] == 0
    assert last["kl"] > 0.1
    assert last["reward"] > first["reward"] + 0.2
    assert (out / "adapter" / "adapter_model.safetensors").is_file()
    frozen = {"lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"}
    before, after = (load_file(p / "model.safetensors") for p in (models[0], out))
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert any(not torch.equal(before[name], after[name]) for name in set(before) - frozen)


# --------------------------------------------------------------------------------------- bad input
def told(capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    for part in parts:
        assert part in captured.err + captured.out


def test_a_separate_value_model_reads_what_the_policy_writes(models, tmp_path, capsys):
    other = make_tiny_llama(tmp_path / "other", special=("<|more|>",))
    reward, data = paying(other, tmp_path), asked(tmp_path / "p.jsonl", 1)
    flags = {"reward_model": reward, "max_steps": 1, "batch_size": 8}
    assert improve(models, data, tmp_path / "out", **flags) == 2
    told(capsys, "another tokenizer than the policy")
    assert (
        improve(models, data, tmp_path / "out", value_model="shared", overwrite=True, **flags) == 0
    )


def test_prompts_without_room_are_dropped_and_counted(models, tmp_path, capsys):
    data = asked(tmp_path / "p.jsonl", 1)
    few = {"max_length": 14, "max_steps": 1, "batch_size": 8, "eval_dataset": data}
    assert improve(models, data, tmp_path / "out", **few) == 0
    facts = read_json(tmp_path / "out" / "train_config.json")["facts"]
    assert facts["dropped"] == {"prompts without room for max_new_tokens": 3}
    told(capsys, "5 prompts; dropped 3: prompts without room for max_new_tokens")
    assert improve(models, data, tmp_path / "none", max_length=9, max_steps=1) == 2
    told(capsys, "no examples are left to train on")
    flags = {"max_length": 9, "max_steps": 1, "eval_dataset": data, "overwrite": True}
    assert improve(models, data, tmp_path / "none", **flags) == 2
    told(capsys, "no prompts are left to look at")


def test_answers_that_the_reward_model_cannot_read_are_named(models, tmp_path, capsys):
    reward, data = paying(models[0], tmp_path), asked(tmp_path / "p.jsonl", 1)
    edit_json(reward / "config.json", max_position_embeddings=8)
    flags = {"reward_model": reward, "value_model": "shared", "max_steps": 1}
    assert improve(models, data, tmp_path / "out", **flags) == 2
    told(capsys, f"{data}, line", "has no score", "--max-new-tokens")


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(models, tmp_path, capsys, monkeypatch):
    data, out = asked(tmp_path / "p.jsonl", 2), tmp_path / "out"
    loss, calls = ppo.value_loss, []

    def failing(*args: torch.Tensor, cliprange: float) -> torch.Tensor:
        calls.append(1)
        return loss(*args, cliprange=cliprange) * (float("nan") if len(calls) > 5 else 1)

    monkeypatch.setattr(ppo, "value_loss", failing)
    assert improve(models, data, out, max_steps=4, batch_size=8) == 2
    told(capsys, "the loss is not finite", f"{data}, line", "is kept")
    kept = storage.last_checkpoint(out)
    assert kept is not None
    monkeypatch.undo()
    assert improve(models, data, out, max_steps=4, batch_size=8) == 0


def test_fsdp_is_refused(models, tmp_path, capsys, monkeypatch):
    from accelerate import Accelerator
    from accelerate.utils import DistributedType

    kind = property(lambda _: DistributedType.FSDP)
    monkeypatch.setattr(Accelerator, "distributed_type", kind)
    monkeypatch.setattr(Accelerator, "is_fsdp2", property(lambda _: True))
    assert improve(models, asked(tmp_path / "p.jsonl", 1), tmp_path / "out") == 2
    told(capsys, "launch it under DDP")
