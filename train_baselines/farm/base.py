"""A model of the farm before it has read anything: a small Llama with random weights.

    python -m train_baselines.farm.base --farm data/farm --out build/farm/start --seed 0

`train_baselines.sft` on pretrain.jsonl makes the base model of it. The weights are drawn wide: with
transformers' own 0.02 a model so small and a corpus so short never came to copy from the prompt.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from judges.errors import UserError
from judges.reading import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What to write, and how large it is to be."""

    farm: Path
    """The farm's folder, for its tokenizer."""
    out: Path
    seed: int = 0
    hidden_size: int = 128
    layers: int = 5
    heads: int = 4
    window: int = 256
    """Tokens of a prompt with its answer; the farm's longest have about half of it."""
    initializer_range: float = 0.08


def write_start(start: Start) -> int:
    """Write the checkpoint; gives the number of its parameters. Raises UserError for a folder that
    is not empty, and for a farm without a tokenizer."""
    import torch
    import transformers

    if start.out.is_dir() and any(start.out.iterdir()):
        raise UserError(f"{start.out} is not empty; give another --out")
    folder = start.farm / "tokenizer"
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; write a farm with python -m train_baselines.farm"
        )
    auto: Any = transformers.AutoTokenizer
    tokenizer = auto.from_pretrained(folder)
    settings = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=start.hidden_size,
        intermediate_size=3 * start.hidden_size,
        num_hidden_layers=start.layers,
        num_attention_heads=start.heads,
        max_position_embeddings=start.window,
        initializer_range=start.initializer_range,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(start.seed)
        model = transformers.LlamaForCausalLM(settings)
    model.save_pretrained(start.out)
    tokenizer.save_pretrained(start.out)
    return model.num_parameters()


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    try:
        start = tyro.cli(Start, args=args, prog="python -m train_baselines.farm.base")
        print(f"{start.out}: {write_start(start):,} parameters")
    except UserError as error:
        print(printable(str(error)), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
