"""`leaderboard plan`: which differences a board can show, from how much its own rows vary."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from judges.reading import printable
from leaderboard.boards import load_board
from leaderboard.commands.flags import shown
from leaderboard.planning import Plan, make_plan
from leaderboard.standings import standings
from leaderboard.table import grid


@dataclass(frozen=True)
class PlanBoard:
    """Which differences can a board show, and how many instructions does one need?"""

    board: Annotated[str, tyro.conf.Positional, shown("BOARD")]
    """The board's name."""
    difference: Annotated[float | None, shown("POINTS")] = None
    """The difference that you want to see, in points of the win rate; else several are shown."""
    power: Annotated[float, shown("SHARE")] = 0.8
    """How often the test is to find a difference that is there."""
    n: Annotated[int | None, shown("N")] = None
    """How many instructions to plan with, if not the board's own."""
    models: Annotated[tuple[str, str] | None, shown("A B")] = None
    """Two rows to take the variation from, if not all neighbours in the table."""
    format: Annotated[Literal["table", "json"], shown("table|json")] = "table"
    """JSON holds fractions in full."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""

    def run(self) -> int:
        plan = make_plan(
            standings(load_board(self.board, self.results)),
            self.board,
            n=self.n,
            difference=None if self.difference is None else self.difference / 100,
            power=self.power,
            models=self.models,
        )
        if self.format == "json":
            print(json.dumps(asdict(plan), indent=2, ensure_ascii=False))
        else:
            print(describe(plan))
        return 0


def describe(plan: Plan) -> str:
    """A plan in words and three tables; differences in points, powers in percent."""
    power = f"{100 * plan.power:.3g} %"
    at_n = next(size.one_pair for size in plan.sizes if size.n == plan.n)
    found_at = "not even 100" if at_n is None else f"{100 * at_n:.1f}"
    kinds = ["one pair", "cautious"]
    notes = [
        f"from {plan.basis.source}",
        f"standard deviation of paired differences: {100 * plan.basis.typical:.1f} points",
        f"cautious: {100 * plan.basis.cautious:.1f} points, above nine pairs in ten",
    ]
    if plan.n_pairs > 1:
        kinds.append(f"all {plan.n_pairs} pairs")
        notes.append(f"{kinds[2]}: told apart whatever the other rows do (Holm)")
    columns = len(kinds)
    detectable = [
        [
            f"{s.n}",
            *map(_points, (s.one_pair, s.cautious, s.all_pairs)[:columns]),
            _points(s.half_width),
        ]
        for s in plan.sizes
    ]
    found = [
        [_points(t.difference), *(f"{100 * p:.0f}" for p in powers[:columns])]
        for t in plan.differences
        for powers in [(t.power_one_pair, t.power_cautious, t.power_all_pairs)]
    ]
    needed = [
        [_points(t.difference), *("none" if n is None else f"{n}" for n in numbers[:columns])]
        for t in plan.differences
        for numbers in [(t.n_one_pair, t.n_cautious, t.n_all_pairs)]
    ]
    lines = [
        f"{plan.board}: {plan.n} instructions find a difference of {found_at} points in {power} of "
        "the cases",
        *(f"  {note}" for note in notes),
        "",
        f"The smallest difference that is found with {power} power, in points:",
        grid(["instructions", *kinds, "± of a win rate"], detectable, "table"),
        "",
        f"Power at {plan.n} instructions, in percent:",
        grid(["points", *kinds], found, "table"),
        "",
        f"Instructions that it takes for {power} power:",
        grid(["points", *kinds], needed, "table"),
    ]
    return printable("\n".join(lines))


def _points(fraction: float | None) -> str:
    return "none" if fraction is None else f"{100 * fraction:.1f}"
