"""Tokens a second and memory of `sft`, `reward_model` and `dpo` beside TRL 1.16, on a CPU.

    python benchmarks/training.py [--runs 3] [--methods dpo] [--examples 96] [--threads 2]

TRL gets an environment of its own under build/peers. Both sides train the same model of random
weights on the same data, in float32, the same number of examples behind each step, one epoch, each
run a process of its own: ours, TRL at its default (8 examples a pass and gradient checkpointing),
TRL at its best, and again. The loop is timed from the first optimiser step to the last and put to
the number of all steps; reference log-probabilities computed before it are added.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from paired import Command, peer, run_once
from training_data import Lengths, Shape, write_data, write_model

WORK = Path("build") / "benchmark-training"
PEER = ["torch==2.13.0", "transformers==5.23.0", "trl==1.16.*"]
SMALL = Shape(vocabulary=2048, width=192, hidden=512, layers=4, heads=4, key_heads=2)
LENGTHS = Lengths(least=40, most=400, prompt=30, answer=90)
BATCH = 32
MAX_LENGTH = 512
METHODS = ("sft", "reward_model", "dpo")
# Of 2, 4 and 8 examples a pass, 4 took least time; `batch_rebalance` balances padding within a step.
# Packing took longer.
FAST: Mapping[str, Any] = {
    "gradient_checkpointing": False,
    "train_sampling_strategy": "batch_rebalance",
    "remove_unused_columns": False,
    "per_device_train_batch_size": 4,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: seconds of its loop, tokens without padding, peak bytes, seconds of the process."""

    wall: float
    cpu: float
    tokens: int
    peak: float
    process: float

    def speed(self, seconds: float) -> float:
        """Tokens in each of so many seconds."""
        return self.tokens / seconds


def ours(method: str, model: Path, data: Path, out: Path, settings: Mapping[str, Any]) -> Command:
    """A run of a trainer of ours; settings are its flags."""
    flags = {"model-name-or-path": model, "dataset": data, "output-dir": out, **settings}
    given = [x for name, value in flags.items() for x in (f"--{name}", str(value))]
    script = str(Path(__file__).with_name("training_own.py"))
    return Command("Herdbook", [sys.executable, script, str(measured_by(out)), method, *given])


def theirs(
    name: str, python: Path, method: str, model: Path, data: Path, settings: Mapping[str, Any]
) -> Command:
    """A run of a trainer of TRL; settings are those of its config."""
    script, out = str(Path(__file__).with_name("training_peer.py")), settings["output_dir"]
    argv = [str(python), script, str(measured_by(Path(out))), method, str(model), str(data)]
    return Command(name, [*argv, json.dumps(settings)])


def trl_settings(method: str, out: Path, fast: Mapping[str, Any] | None) -> dict[str, Any]:
    """TRL's settings for `BATCH` examples a step on a CPU: as they come, or the fastest."""
    settings: dict[str, Any] = {
        "output_dir": str(out), "num_train_epochs": 1, "max_length": MAX_LENGTH, "bf16": False,
        "use_cpu": True, "report_to": "none", "save_strategy": "no",
        "per_device_train_batch_size": 8, **(fast or {}),
    }  # fmt: skip
    if fast is not None and method == "dpo":
        settings["precompute_ref_log_probs"] = True
    settings["gradient_accumulation_steps"] = BATCH // settings["per_device_train_batch_size"]
    return settings


def measured_by(out: Path) -> Path:
    """Where a run leaves what was measured."""
    return out.with_suffix(".json")


def measure(command: Command, out: Path, tokens: int) -> Measured:
    """Runs a process and reads what it left; refuses figures for other data than was written."""
    process = run_once(command).wall
    found = json.loads(measured_by(out).read_text())
    if found["tokens"] != tokens:
        sys.exit(f"{command.name} trained on {found['tokens']} tokens, the data has {tokens}")
    return Measured(found["wall"], found["cpu"], tokens, found["peak"], process)


def table(title: str, names: Sequence[str], rounds: Sequence[Sequence[Measured]]) -> None:
    """A Markdown table: medians, and how many times as fast the first is, pair by pair."""
    print(f"\n{title} ({len(rounds)} rounds)\n")
    print(
        "| | tokens/s | tokens/CPU s | process s | peak MiB | wall / ours | CPU / ours | peak / ours |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for place, name in enumerate(names):

        def middle(of: Callable[[Measured], float], place: int = place) -> float:
            return median(of(one[place]) for one in rounds)

        def ratio(of: Callable[[Measured], float], place: int = place) -> str:
            return f"{median(of(one[place]) / of(one[0]) for one in rounds):.2f}" if place else ""

        print(
            f"| {name} | {middle(lambda m: m.speed(m.wall)):,.0f} | {middle(lambda m: m.speed(m.cpu)):,.0f} | "
            f"{middle(lambda m: m.process):.1f} | {middle(lambda m: m.peak / 2**20):,.0f} | "
            f"{ratio(lambda m: m.wall)} | {ratio(lambda m: m.cpu)} | {ratio(lambda m: m.peak)} |",
            flush=True,
        )


def main() -> None:
    """Write model and data, run all sides in turn, print a table a method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--examples", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens-per-device", type=int, default=1024, help="ours; see the docs")
    args = parser.parse_args()
    python = peer("trl", PEER) / "python"
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    os.environ |= {
        "OMP_NUM_THREADS": str(args.threads), "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str((WORK / "datasets").absolute()),
    }  # fmt: skip
    model, out = WORK / "model", WORK / "out"
    size = write_model(model, SMALL)
    print(f"{size:,} parameters, {args.examples} examples, {args.threads} threads")
    for method in args.methods:
        data = WORK / f"{method}.jsonl"
        tokens = write_data(data, method, args.examples, LENGTHS, SMALL.vocabulary // 2)
        own = {
            "batch-size": BATCH, "num-train-epochs": 1, "max-length": MAX_LENGTH,
            "precision": "fp32", "tokens-per-device": args.tokens_per_device, "overwrite": True,
        }  # fmt: skip
        peers = partial(theirs, python=python, method=method, model=model, data=data)
        sides = [
            ours(method, model, data, out, own),
            peers("TRL, default", settings=trl_settings(method, out, None)),
            peers("TRL, best", settings=trl_settings(method, out, FAST)),
        ]
        rounds = []
        for _ in range(args.runs):
            found = []
            for side in sides:
                for cache in (out, WORK / "datasets"):
                    shutil.rmtree(cache, ignore_errors=True)
                found.append(measure(side, out, tokens))
            rounds.append(found)
        table(f"{method}, {tokens:,} tokens", [side.name for side in sides], rounds)


if __name__ == "__main__":
    main()
