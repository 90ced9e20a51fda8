"""How good samples are by the farm's truth: the share of right results, and the gold utility.

    python -m train_baselines.generate … --dataset data/farm/val.jsonl --output samples.jsonl
    python -m train_baselines.farm.utility samples.jsonl

A base model that never came to copy from its prompts is of no use to any method: `--at-least` stops
a script there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated

import tyro
from tabulate import tabulate

from judges.criteria.share import score
from judges.errors import UserError
from judges.reading import printable
from judges.records import read_records


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The gold utility of samples, kind of task by kind of task."""

    samples: Annotated[Path, tyro.conf.Positional]
    """A .jsonl file with `output`, `category` and `checks`."""
    at_least: float = 0.0
    """Exit with 2 where a smaller share of results is right; from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One sample by the farm's truth, each figure in [0, 1] but for the words."""

    category: str
    is_right: float
    utility: float
    words: int


def measure(path: Path) -> list[Measured]:
    """Every sample of a file; raises UserError for a row that is no sample of the farm."""
    found = []
    for line, row in read_records(path):
        text, checks = row.get("output"), row.get("checks")
        if not isinstance(text, str) or not isinstance(checks, list) or not checks:
            raise UserError(f"{path}, line {line}: `output` and `checks` are needed")
        right = score(text, checks[:1])  # the result comes first
        utility = score(text, checks)
        found.append(Measured(str(row.get("category", "")), right, utility, len(text.split())))
    if not found:
        raise UserError(f"{path}: there are no samples")
    return found


def describe(samples: Sequence[Measured]) -> str:
    """A table of means, the kinds in the order in which they come and all below."""
    kinds = dict.fromkeys(one.category for one in samples)
    groups = {kind: [one for one in samples if one.category == kind] for kind in kinds}
    rows = [
        (
            name,
            len(of),
            100 * fmean(one.is_right for one in of),
            100 * fmean(one.utility for one in of),
            fmean(one.words for one in of),
        )
        for name, of in (*groups.items(), ("all", samples))
    ]
    headers = ("task", "n", "right %", "utility %", "words")
    return tabulate(rows, headers, floatfmt=".1f", tablefmt="simple")


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    try:
        given = tyro.cli(Arguments, args=args, prog="python -m train_baselines.farm.utility")
        samples = measure(given.samples)
        print(describe(samples))
        if (share := fmean(one.is_right for one in samples)) < given.at_least:
            raise UserError(
                f"{given.samples}: {share:.1%} of the results are right, and at least "
                f"{given.at_least:.1%} were wanted"
            )
    except UserError as error:
        print(printable(str(error)), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
