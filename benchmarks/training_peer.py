"""One run of a trainer of TRL under the stopwatch; a program of its own, for an environment with TRL.

python training_peer.py MEASURED.json METHOD MODEL DATA SETTINGS.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset
from training_clock import Clock
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

KINDS = {
    "sft": (SFTConfig, SFTTrainer),
    "reward_model": (RewardConfig, RewardTrainer),
    "dpo": (DPOConfig, DPOTrainer),
}


def main() -> None:
    """Train, and write what was measured."""
    out, method, model, data, settings = sys.argv[1:]
    clock = Clock()
    DPOTrainer._precompute_ref_logps = clock.wrapped(DPOTrainer._precompute_ref_logps)
    config, trainer = KINDS[method]
    tokenizer = AutoTokenizer.from_pretrained(model)
    if method == "reward_model":
        net: Any = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    else:
        net = AutoModelForCausalLM.from_pretrained(model)
    run = trainer(
        model=net.float(),
        args=config(**json.loads(settings)),
        train_dataset=with_lengths(read(data), tokenizer),
        processing_class=tokenizer,
    )
    run.train()
    run.save_model()
    clock.write(Path(out), n_tokens(run.train_dataset))


def read(path: str) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def with_lengths(rows: list[dict[str, Any]], tokenizer: Any) -> Dataset:
    """The rows with the length of the longest text of each, by which TRL can group them."""
    for row in rows:
        answers = [row[name] for name in ("completion", "chosen", "rejected") if name in row]
        texts = [" ".join(turn["content"] for turn in row["prompt"] + one) for one in answers]
        row["length"] = max(len(tokenizer(text)["input_ids"]) for text in texts)
    return Dataset.from_list(rows)


def n_tokens(dataset: Dataset) -> int:
    """Tokens of what the trainer made of the data."""
    total = 0
    for row in dataset:
        if "prompt_ids" in row:
            total += 2 * len(row["prompt_ids"])
        names = ("input_ids", "chosen_ids", "rejected_ids", "chosen_input_ids")
        total += sum(len(row[name]) for name in names if name in row)
    return total


if __name__ == "__main__":
    main()
