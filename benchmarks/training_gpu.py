"""The trainers on one CUDA GPU: tokens a second, memory and model FLOP utilisation.

    python benchmarks/training_gpu.py [--runs 3] [--methods sft dpo] [--examples 512]

A Llama-style model of 1.2 B parameters of random weights, bfloat16 as autocast over float32 weights,
sequences of 1,024 tokens. TRL runs in turn with ours where this environment has it (the extra `dev`);
the peer of `training.py` would need a torch of its own for the GPU. Utilisation is of the model's
floating-point operations a second over the GPU's peak in dense bfloat16: a token that is trained on
or only read in training takes 6 · parameters + 12 · layers · width · length, forward and backward.
What is computed besides, such as reference log-probabilities, counts as time and not as work.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import torch
from training import FAST, METHODS, Measured, measure, ours, table, theirs, trl_settings
from training_data import Lengths, Shape, write_data, write_model

WORK = Path("build") / "benchmark-training-gpu"
LENGTH = 1024
LARGE = Shape(vocabulary=32_000, width=2048, hidden=6144, layers=24, heads=32, key_heads=8)
WHOLE = Lengths(least=LENGTH, most=LENGTH, prompt=256, answer=768)
# Dense bfloat16 FLOP/s of the data sheets, by a part of the name that torch gives.
PEAKS = {
    "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12,
    "L4": 121e12, "A10": 125e12, "4090": 165e12, "3090": 71e12,
}  # fmt: skip


def utilisation(tokens_per_second: float, parameters: int, peak: float) -> float:
    """The share of the GPU's peak that training at this speed is worth."""
    work = 6 * parameters + 12 * LARGE.layers * LARGE.width * LENGTH
    return tokens_per_second * work / peak


def main() -> None:
    """Write model and data, run the sides in turn, print a table a method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--tokens-per-device", type=int, default=16_384)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(
            "training_gpu.py needs a CUDA GPU, and torch sees none: run benchmarks/training.py"
        )
    name = torch.cuda.get_device_name()
    peak = next((flops for part, flops in PEAKS.items() if part in name), None)
    if find_spec("trl") is None:
        print(
            "TRL is not installed here: ours alone. pip install -c constraints.txt -e .[train,dev]"
        )
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str((WORK / "datasets").absolute()),
    }
    model, out = WORK / "model", WORK / "out"
    size = write_model(model, LARGE)
    print(f"{size:,} parameters, {name}, ", end="")
    print("peak not known" if peak is None else f"peak {peak / 1e12:,.0f} TFLOP/s")
    for method in args.methods:
        data = WORK / f"{method}.jsonl"
        tokens = write_data(data, method, args.examples, WHOLE, LARGE.vocabulary // 2)
        own = {
            "batch-size": 32, "num-train-epochs": 1, "max-length": LENGTH, "precision": "bf16",
            "tokens-per-device": args.tokens_per_device, "overwrite": True,
        }  # fmt: skip
        sides = [ours(method, model, data, out, own)]
        if find_spec("trl") is not None:
            on_gpu = {"bf16": True, "use_cpu": False, "max_length": LENGTH}
            default = trl_settings(method, out, None) | on_gpu
            a_pass = {"per_device_train_batch_size": 16 if method == "sft" else 8}
            best = trl_settings(method, out, {**FAST, **a_pass}) | on_gpu
            run = partial(
                theirs, python=Path(sys.executable), method=method, model=model, data=data
            )
            sides += [run("TRL, default", settings=default), run("TRL, best", settings=best)]
        rounds: list[list[Measured]] = []
        for _ in range(args.runs):
            rounds.append([])
            for side in sides:
                for cache in (out, WORK / "datasets"):
                    shutil.rmtree(cache, ignore_errors=True)
                rounds[-1].append(measure(side, out, tokens))
        names = [side.name for side in sides]
        table(f"{method}, {tokens:,} tokens of sequences of {LENGTH}", names, rounds)
        if peak is not None:
            print("\n| | model FLOP utilisation |\n| --- | --- |")
            for place, side in enumerate(names):
                speed = median(one[place].speed(one[place].wall) for one in rounds)
                print(f"| {side} | {utilisation(speed, size, peak):.1%} |", flush=True)


if __name__ == "__main__":
    main()
