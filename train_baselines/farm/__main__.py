"""Write a farm: a small world with a known truth, as files to train on and to be judged by.

    python -m train_baselines.farm --out data/farm --seed 0

| file | holds |
| --- | --- |
| pretrain.jsonl | prompts with answers by authors of differing skill |
| sft.jsonl | the same by three of mediocre skill |
| preference.jsonl, unlabeled.jsonl | prompts with their checks and a gold answer |
| val.jsonl | the same, to choose settings by |
| eval.jsonl | the same, for `leaderboard board new farm --prompts … --judge checklist` |
| pairs.jsonl | pairs of distinct answers by demonstrators, with checks |
| people.toml, simulators.toml | panels for `leaderboard annotate --panel` |
| tokenizer/ | a Hugging Face tokenizer with its chat template |
| farm.json | the seed and the sizes |

The keys are in docs/files.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tyro

from judges.errors import UserError
from judges.reading import printable
from train_baselines.farm.world import Farm, write_farm


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    try:
        farm = tyro.cli(Farm, args=args, prog="python -m train_baselines.farm")
        for name, n in write_farm(farm).items():
            print(f"{farm.out / name}: {n:,}")
    except UserError as error:
        print(printable(str(error)), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
