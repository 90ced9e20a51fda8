"""How far the farm's annotators agree, and the temperature at which they agree so far.

    python -m train_baselines.farm.agreement PAIRS --panel data/farm/people.toml
    python -m train_baselines.farm.agreement PAIRS --panel data/farm/people.toml --solve 0.66
    python -m train_baselines.farm.agreement PAIRS --panel data/farm/simulators.toml \\
        --with data/farm/people.toml --solve 0.65

PAIRS has `prompt`, `output_1`, `output_2` and `checks`, as the farm's `pairs.jsonl`; or `output` in
place of the two, as `train_baselines.generate` writes samples: those of a prompt are paired as they
come. On every pair of distinct answers one label is held against the mode of three others; several
modes share the credit. For one panel the four labels are those of the annotators whom it draws, each
held against the other three, the mean of all four; it is the estimand of `leaderboard agree` at k = 3.
With --with, one annotator of the panel is held against the mode of each choice of three of four.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

import tyro

from judges.base import presentations
from judges.errors import UserError
from judges.kinds.synthetic import Synthetic
from judges.panel import Panel
from judges.reading import printable
from judges.records import read_records, validated
from judges.registry import make_panel, read_panel
from judges.schema import Comparison, Instruction, Message

OTHERS = 3


@dataclass(frozen=True, slots=True)
class Vote:
    """An annotator's view of a pair, from which its label follows at any temperature."""

    judge: Synthetic
    lead: float
    noise: float
    is_swapped: bool

    def label(self, factor: float) -> float:
        """0, 0.5 or 1 for output 2, at so many times the annotator's temperature."""
        judge = replace(self.judge, temperature=factor * self.judge.temperature)
        shown = judge.verdict(self.lead, self.noise)
        return 1 - shown if self.is_swapped else shown


Votes = list[list[Vote]]
"""By pair, of the annotators who are drawn for it."""


def read_pairs(path: Path) -> list[Comparison]:
    """The pairs of distinct answers; raises UserError for a row that lacks a text or its checks."""
    found = []
    for number, row in _paired(read_records(path)):
        where = f"{path}, line {number}"
        if not row.get("checks"):
            raise UserError(f"{where}: `checks` are missing; they stand beside the farm's prompts")
        texts = [row.get(name) for name in ("prompt", "output_1", "output_2")]
        if not all(isinstance(text, str) for text in texts):
            raise UserError(f"{where}: prompt, output_1 and output_2 must be texts")
        prompt, one, two = map(str, texts)
        record = {
            "id": str(number),
            "messages": (Message("user", prompt),),
            "checks": row["checks"],
        }
        instruction = validated(Instruction, record, where)
        if one != two:
            found.append(
                Comparison(
                    id=instruction.id,
                    instruction=instruction,
                    output_1=one,
                    output_2=two,
                    generator_1="1",
                    generator_2="2",
                )
            )
    if not found:
        raise UserError(f"{path}: there is no pair of distinct answers")
    return found


def _paired(rows: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with two answers; samples, of which one prompt's stand together, two by two."""
    held: tuple[int, dict[str, Any]] | None = None
    for number, row in rows:
        if "output" not in row:
            yield number, row
        elif held is None or held[1].get("prompt") != row.get("prompt"):
            held = number, row
        else:
            yield held[0], {**row, "output_1": held[1]["output"], "output_2": row["output"]}
            held = None


def votes(panel: Panel, pairs: Sequence[Comparison], seed: int = 0) -> Votes:
    """What `leaderboard annotate` would ask, in random order; raises UserError for a panel with an
    annotator that is not synthetic."""
    panel.check([pair.instruction for pair in pairs])
    found: Votes = []
    for pair in pairs:
        found.append([])
        for judge in panel.assigned(pair.instruction, seed):
            if not isinstance(judge, Synthetic):
                raise UserError(
                    f"judge {judge.name} is not synthetic: it has no temperature to fit"
                )
            (view,) = presentations(judge, [pair], "random", seed)
            of = view.instruction, view.first, view.second
            is_swapped = view.order == "swapped"
            found[-1].append(Vote(judge, judge.lead(*of), judge.noise(*of), is_swapped))
    return found


def agreement(own: Votes, others: Votes | None = None, factor: float = 1.0) -> list[float]:
    """By pair, the mean credit of one label against the mode of three others.

    The labels are the panel's own, or, where there are `others`, one of its own against theirs.
    `factor` multiplies the temperatures of `own`. Raises UserError where an item has too few labels.
    """
    credits = []
    for n, drawn in enumerate(own):
        labels = [vote.label(factor) for vote in drawn]
        if others is None:
            tables = [(labels[i], [*labels[:i], *labels[i + 1 :]]) for i in range(len(labels))]
        else:
            theirs = [vote.label(1.0) for vote in others[n]]
            tables = [(label, theirs) for label in labels]
        found = [
            _credit(label, three) for label, rest in tables for three in combinations(rest, OTHERS)
        ]
        if not found:
            raise UserError("the panel draws too few annotators for an item: a mode is of three")
        credits.append(fmean(found))
    return credits


def _credit(label: float, others: Sequence[float]) -> float:
    """1 for a label that is the mode, its share where several are, 0 for another."""
    counts = Counter(others)
    modes = [one for one, n in counts.items() if n == max(counts.values())]
    return (label in modes) / len(modes)


def solve(target: float, own: Votes, others: Votes | None = None) -> float:
    """The factor on the temperatures of `own` at which the mean agreement is `target`, by bisection;
    raises UserError where no temperature gives it."""
    low, high = 1 / 64, 64.0
    if not fmean(agreement(own, others, high)) < target < fmean(agreement(own, others, low)):
        raise UserError(f"no temperature makes them agree on {100 * target:.1f} %")
    for _ in range(16):
        middle = sqrt(low * high)
        if fmean(agreement(own, others, middle)) > target:
            low = middle
        else:
            high = middle
    return sqrt(low * high)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """How far synthetic annotators agree on pairs, and at which temperature they would so far."""

    pairs: Annotated[Path, tyro.conf.Positional]
    """A .jsonl file with `prompt`, `checks`, and `output_1` and `output_2`, or samples as `output`."""
    panel: Path
    """Whose labels are held against others: a panel file."""
    with_: Annotated[Path | None, tyro.conf.arg(name="with")] = None
    """Against whose: a panel file; left out, against one another."""
    solve: float | None = None
    """Find the factor on the temperatures of --panel that gives this agreement, from 0 to 1."""
    seed: int = 0
    """Of the draws, as of `leaderboard annotate`."""


def run(arguments: Arguments) -> str:
    """The answer, in words."""
    pairs = read_pairs(arguments.pairs)
    own = votes(_panel(arguments.panel), pairs, arguments.seed)
    others = votes(_panel(arguments.with_), pairs, arguments.seed) if arguments.with_ else None
    scores = agreement(own, others)
    error = stdev(scores) / sqrt(len(scores)) if len(scores) > 1 else float("nan")
    whose = f"three of {arguments.with_.name}" if arguments.with_ else "three others"
    said = (
        f"{arguments.panel.name}: one against the mode of {whose} agrees on "
        f"{100 * fmean(scores):.1f} % of {len(scores):,} pairs (standard error {100 * error:.1f})"
    )
    if arguments.solve is not None:
        factor = solve(arguments.solve, own, others)
        said += f"\n{100 * arguments.solve:.1f} % at {factor:.4f} times the temperatures"
    return said


def _panel(path: Path) -> Panel:
    return make_panel(read_panel(path), path.parent, path)


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    try:
        print(run(tyro.cli(Arguments, args=args, prog="python -m train_baselines.farm.agreement")))
    except UserError as error:
        print(printable(str(error)), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
