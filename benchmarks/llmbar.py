"""LLMBar's real verdicts put through judges of the kind `recorded`, as any board's are.

The folder holds 629 pairs of answers with gold labels, and what six models said of them in both
orders, each with up to fifteen ways of asking. Every way of asking a model is one judge here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from judges.base import annotate, presentations
from judges.calling.caller import Caller, Task
from judges.kinds.recorded import Recorded
from judges.records import to_line
from judges.schema import Annotation, Comparison, Instruction, Message
from leaderboard.rows.results import annotation_frame

ONE, TWO = "output_1", "output_2"
"""What the two answers' generators are called."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdicts:
    """The items, and every judge's preference for output 2 in either order, NaN: missing."""

    subset: NDArray[np.str_]
    gold: NDArray[np.float64]
    """1 where output 2 is right."""
    ids: tuple[str, ...]
    """Of the comparisons."""
    original: pd.DataFrame
    """One row an item, one column a judge: (model, strategy)."""
    swapped: pd.DataFrame
    annotations: dict[tuple[str, str], pd.DataFrame]
    """By judge, as `annotation_frame` holds them."""


def load(folder: Path, scratch: Path) -> Verdicts:
    """Every verdict in `folder`, replayed from files of recorded verdicts written to `scratch`."""
    items = pd.read_parquet(folder / "llmbar.parquet")
    said = pd.read_parquet(folder / "llmbar_verdicts.parquet")
    comparisons = list(_comparisons(items))
    place = {pair.id: row for row, pair in enumerate(comparisons)}
    orders = {order: {} for order in ("original", "swapped")}
    annotations = {}
    for (model, strategy), lines in said.groupby(["judge", "strategy"], sort=True):
        path = scratch / f"{model}-{strategy}.jsonl"
        write_recorded(lines, path)
        subsets = set(lines["subset"])
        asked = [pair for pair in comparisons if pair.instruction.category in subsets]
        frame = annotation_frame(
            replay(Recorded(name=name(model, strategy), path=str(path)), asked)
        )
        annotations[model, strategy] = frame
        for order, columns in orders.items():
            found = frame[frame["order"] == order]
            column = np.full(len(comparisons), np.nan)
            column[found["comparison_id"].map(place)] = found["preference"]
            columns[model, strategy] = column
    return Verdicts(
        subset=items["subset"].to_numpy(str),
        gold=items["gold"].to_numpy(float) - 1,
        ids=tuple(place),
        original=pd.DataFrame(orders["original"]),
        swapped=pd.DataFrame(orders["swapped"]),
        annotations=annotations,
    )


def name(model: str, strategy: str) -> str:
    """A judge's name."""
    return f"{model} {strategy}"


def write_recorded(lines: pd.DataFrame, path: Path) -> None:
    """A file of recorded verdicts: 1 and 2 name the better output, null is no verdict."""
    columns = lines[["subset", "example_id", "order", "verdict"]]
    records = (
        {
            "instruction_id": f"{subset}-{example}",
            "generator_1": ONE,
            "generator_2": TWO,
            "order": order,
            "preference": None if pd.isna(verdict) else float(verdict - 1),
        }
        for subset, example, order, verdict in columns.itertuples(index=False)
    )
    path.write_text("".join(to_line(record) + "\n" for record in records), encoding="utf-8")


def replay(judge: Recorded, comparisons: Sequence[Comparison]) -> list[Annotation]:
    """What the judge says of the comparisons in both orders."""
    shown = presentations(judge, comparisons, "both", seed=0)
    return [annotation for annotation, _ in annotate(judge, shown, Caller(), Task())]


def _comparisons(items: pd.DataFrame) -> Iterator[Comparison]:
    for item in items.itertuples():
        instruction = Instruction(
            id=f"{item.subset}-{item.example_id}",
            messages=(Message("user", item.input),),
            category=item.subset,
        )
        yield Comparison(
            id=f"{ONE}:{instruction.id}",
            instruction=instruction,
            output_1=item.output_1,
            output_2=item.output_2,
            generator_1=ONE,
            generator_2=TWO,
        )
