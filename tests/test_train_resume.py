"""A run that is killed and started again ends with the same bytes; what is in its way is said."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import pytest
from conftest import files_of, read_json
from training import demonstrations, in_processes, metrics, preferences, train

from train_baselines.runtime import storage
from train_baselines.runtime.run import Run

SFT = {"batch_size": 10, "num_train_epochs": 2, "learning_rate": 1e-3, "save_steps": 3}


def killed_after(step: int, method: str, model: Path, data: Path, out: Path, **flags: object):
    """A run whose process is killed at the end of a step, before it is logged."""
    end = Run._end_step

    def kill(self: Run, epoch: float) -> None:
        if self.step > step:
            os.kill(os.getpid(), signal.SIGKILL)
        end(self, epoch)

    Run._end_step = kill
    train(method, model, data, out, **flags)


@pytest.mark.parametrize(
    ("method", "flags"),
    [
        ("sft", SFT),
        ("sft", {**SFT, "use_peft": True, "lora_dropout": 0.3}),
        ("dpo", {**SFT, "learning_rate": 1e-4}),
        ("reward_model", {**SFT, "learning_rate": 1e-4}),
    ],
    ids=["sft", "lora with dropout", "dpo", "reward model"],
)
def test_a_killed_run_ends_with_the_same_bytes(method, flags, tiny_llama, tmp_path):
    data = (demonstrations if method == "sft" else preferences)(tmp_path / "data.jsonl")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(method, tiny_llama, data, whole, **flags) == 0
    # Killed twice, the second time before a further checkpoint is due.
    for step in (4, 5):
        codes = in_processes(
            lambda at=step: killed_after(at, method, tiny_llama, data, parts, **flags)
        )
        assert codes == [-signal.SIGKILL]
        assert [p.name for p in (parts / "checkpoints").iterdir()] == ["step-3"]
    assert train(method, tiny_llama, data, parts, **flags) == 0
    wrote, expected = files_of(parts), files_of(whole)
    assert set(wrote) == set(expected)
    for name in wrote:
        if name.endswith(".safetensors"):
            assert wrote[name] == expected[name]
    timed = ({k: v for k, v in line.items() if k != "seconds"} for line in metrics(parts))
    assert list(timed) == [
        {k: v for k, v in line.items() if k != "seconds"} for line in metrics(whole)
    ]


def test_a_killed_save_leaves_the_checkpoint_before_it(tiny_llama, tmp_path, monkeypatch):
    data, out = demonstrations(tmp_path / "d.jsonl"), tmp_path / "out"

    def fill_and_kill() -> None:
        sync = storage._sync

        def kill(path: Path) -> None:
            if "step-6" in str(path):
                os.kill(os.getpid(), signal.SIGKILL)
            sync(path)

        storage._sync = kill
        train("sft", tiny_llama, data, out, **SFT)

    assert in_processes(fill_and_kill) == [-signal.SIGKILL]
    assert storage.last_checkpoint(out).name == "step-3"
    assert (out / "checkpoints" / ".step-6.tmp").is_dir()
    assert train("sft", tiny_llama, data, out, **SFT) == 0
    assert not (out / "checkpoints").exists()


def test_a_full_disk_leaves_the_checkpoint_before_it(tiny_llama, tmp_path, capfd):
    data, out = demonstrations(tmp_path / "d.jsonl"), tmp_path / "out"

    def with_little_room() -> None:
        save = storage.save_checkpoint

        def short(output: Path, step: int, saved: storage.Saved) -> None:
            if step == 6:  # no file may grow beyond 1 MB from here on
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
            save(output, step, saved)

        storage.save_checkpoint = short
        os._exit(train("sft", tiny_llama, data, out, **SFT))

    assert in_processes(with_little_room) == [2]
    told = capfd.readouterr().err
    assert "could not be written" in told
    assert "intact" in told
    assert "Traceback" not in told
    assert [p.name for p in (out / "checkpoints").iterdir()] == ["step-3"]
    assert train("sft", tiny_llama, data, out, **SFT) == 0


@pytest.fixture
def stopped(tiny_llama, tmp_path):
    """A run that was killed, behind its first checkpoint: model, data, folder."""
    data, out = demonstrations(tmp_path / "d.jsonl"), tmp_path / "out"
    in_processes(lambda: killed_after(4, "sft", tiny_llama, data, out, **SFT))
    return tiny_llama, data, out


def refused(capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    told = capsys.readouterr().err
    lines = [line for line in told.splitlines() if line.startswith("train_baselines.")]
    assert len(lines) == 1, told
    for part in parts:
        assert part in lines[0]


def test_a_checkpoint_of_other_settings_or_data_is_refused(stopped, tmp_path, capsys):
    model, data, out = stopped
    before = files_of(out)
    assert train("sft", model, data, out, **{**SFT, "seed": 1}) == 2
    refused(capsys, "other settings", "seed was 0, is now 1", "--overwrite")
    assert train("dpo", model, preferences(tmp_path / "p.jsonl"), out) == 2
    refused(capsys, "a run of sft, not of dpo", "--output-dir")
    lines = data.read_text().splitlines()
    data.write_text("\n".join(lines[1:]) + "\n")
    assert train("sft", model, data, out, **SFT) == 2
    refused(capsys, "other data")
    data.write_text("\n".join(lines) + "\n")
    assert files_of(out) == before
    (out / "checkpoints" / "step-3" / "tensors.safetensors").write_bytes(b"no tensors")
    assert train("sft", model, data, out, **SFT) == 2
    refused(capsys, "cannot be read", "step-3")


def test_a_finished_run_is_refused_unless_it_is_to_be_overwritten(tiny_llama, tmp_path, capsys):
    data, out = demonstrations(tmp_path / "d.jsonl"), tmp_path / "out"
    assert train("sft", tiny_llama, data, out, **SFT) == 0
    weights = (out / "model.safetensors").read_bytes()
    (out / "notes.txt").write_text("mine")
    capsys.readouterr()
    assert train("sft", tiny_llama, data, out, **SFT) == 2
    refused(capsys, "a finished run of sft", "--overwrite")
    assert train("sft", tiny_llama, data, out, **SFT, seed=1, overwrite=True) == 0
    assert (out / "model.safetensors").read_bytes() != weights
    assert (out / "notes.txt").read_text() == "mine"
    assert read_json(out / "train_config.json")["config"]["seed"] == 1
    assert train("sft", tiny_llama, data, tiny_llama, **SFT) == 2
    refused(capsys, "holds a model")


def test_a_loss_that_is_no_number_stops_the_run(stopped, capsys, monkeypatch):
    import torch

    from train_baselines import sft

    model, data, out = stopped
    loss, calls = sft.sft_loss, []

    def failing(logprobs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return loss(logprobs, targets) * (float("nan") if len(calls) == 2 else 1)

    monkeypatch.setattr(sft, "sft_loss", failing)
    assert train("sft", model, data, out, **SFT) == 2
    refused(capsys, "step 5: the loss is not finite", f"{data}, line", "step-3 is kept")
    assert storage.last_checkpoint(out).name == "step-3"
    assert [line["step"] for line in metrics(out)] == [1, 2, 3, 4]
    monkeypatch.undo()
    assert train("sft", model, data, out, **SFT) == 0


def test_the_state_holds_no_pickle(stopped):
    *_, out = stopped
    folder = out / "checkpoints" / "step-3"
    assert sorted(p.name for p in folder.iterdir()) == ["state.json", "tensors.safetensors"]
    assert json.loads((folder / "state.json").read_text())["step"] == 3
