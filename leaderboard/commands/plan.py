"""`leaderboard plan`: which differences a board can show, from how much its own rows vary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from judges.errors import UserError
from judges.reading import printable
from leaderboard.boards.board import Board, load_board
from leaderboard.boards.settings import Column
from leaderboard.commands.flags import shown
from leaderboard.comparing.planning import ENOUGH, Plan, make_plan
from leaderboard.display.table import Format, Records, data, emit, tex
from leaderboard.rows.standings import standings
from leaderboard.validity.label_plan import LabelPlan, plan_labels


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
    models: Annotated[tuple[str, ...], shown("A B")] = ()
    """Two rows to take the variation from, if not all neighbours in the table."""
    humans: Annotated[tuple[str, ...] | None, shown("[N] [FILE]")] = None
    """How many human labels of one row buy which interval: for N labels, without N for 30, 50, 100,
    200 and more, with the agreement seen in a file of labels or an assumed one."""
    format: Annotated[Format, shown("table|markdown|csv|json|latex")] = "table"
    """CSV and JSON hold fractions in full."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""

    def run(self) -> int:
        if len(self.models) not in (0, 2):
            raise UserError(f"--models {' '.join(self.models)}: the names of two rows are needed")
        board = load_board(self.board, self.results)
        if self.humans is not None:
            print(label_text(self._label_plan(board, self.humans), self.format))
            return 0
        plan = make_plan(
            standings(board),
            self.board,
            n=self.n,
            difference=None if self.difference is None else self.difference / 100,
            power=self.power,
            models=(self.models[0], self.models[1]) if self.models else None,
        )
        if self.format == "json":
            print(json.dumps(asdict(plan), indent=2, ensure_ascii=False))
        elif self.format == "csv":
            print(data(plan_records(plan), "csv"))
        else:
            print(describe(plan, board.settings.headline, self.format))
        return 0

    def _label_plan(self, board: Board, humans: Sequence[str]) -> LabelPlan:
        if self.models or self.n is not None or self.difference is not None or self.power != 0.8:
            raise UserError("--humans goes with no other option but --format and --results")
        numbers = [int(word) for word in humans if word.isdecimal()]
        files = [Path(word) for word in humans if not word.isdecimal()]
        if len(numbers) > 1 or len(files) > 1:
            raise UserError(f"--humans {' '.join(humans)}: a number, a file of labels, or both")
        return plan_labels(
            board,
            standings(board),
            n=numbers[0] if numbers else None,
            labels=files[0] if files else None,
        )


def label_text(plan: LabelPlan, form: Format) -> str:
    """What human labels buy, in words and two tables, or the records of `label_records`."""
    if form == "json":
        return json.dumps(asdict(plan), indent=2, ensure_ascii=False)
    if form == "csv":
        return data(label_records(plan), "csv")
    kinds = ["labels alone", *(f"correlation {rho:.2f}" for rho in plan.correlations)]
    tables = {
        "± of a win rate, in points, by the number of labelled instructions": (
            ["labels", *kinds],
            [[str(e.n), *map(_points, (e.alone, *e.together))] for e in plan.expected],
        ),
        "Labelled instructions that an interval takes": (
            ["± points", *kinds],
            [
                [_points(d.half_width), *("none" if n is None else str(n) for n in of)]
                for d in plan.needed
                for of in [(d.alone, *d.together)]
            ],
        ),
    }
    title = f"{plan.board}: labels by people of a random sample of its {plan.n_items} instructions"
    notes = [
        plan.source,
        f"standard deviation of the labels: {100 * plan.deviation:.1f} points",
        "every row needs labels of its own; labels alone: without the judges' verdicts",
    ]
    if form == "latex":
        said = "; ".join(notes)
        return "\n\n".join(
            emit(*table, form, tex(f"{title}. {what} ({said}).")) for what, table in tables.items()
        )
    bullet, between = ("- ", "\n\n") if form == "markdown" else ("  ", "\n")
    words = between.join([title, "\n".join(bullet + note for note in notes)])
    blocks = [f"{what}:{between}{emit(*table, form, '')}" for what, table in tables.items()]
    return "\n\n".join([printable(words), *blocks])


def label_records(plan: LabelPlan) -> Records:
    """One record a figure: `half_width` of n labels, or the `labels` that a half-width takes; the
    correlation is null for the labels alone."""
    kinds = [None, *plan.correlations]
    return [
        {"figure": "half_width", "correlation": rho, "given": e.n, "value": value}
        for e in plan.expected
        for rho, value in zip(kinds, (e.alone, *e.together), strict=True)
    ] + [
        {"figure": "labels", "correlation": rho, "given": d.half_width, "value": value}
        for d in plan.needed
        for rho, value in zip(kinds, (d.alone, *d.together), strict=True)
    ]


def describe(plan: Plan, headline: Column, form: Format) -> str:
    """A plan in words and three tables; differences in points, powers in percent. The words of
    LaTeX tables are their captions."""
    power = f"{100 * plan.power:.3g} %"
    at_n = next(size.one_pair for size in plan.sizes if size.n == plan.n)
    found_at = "not even 100" if at_n is None else f"{100 * at_n:.1f}"
    of, of_rates = ("", "") if headline == "win_rate" else (" of win rate", " of win rates")
    names = kinds(plan)
    first = (
        f"{plan.board}: {plan.n} instructions find a difference of {found_at} points{of} in "
        f"{power} of the cases"
    )
    sizes = [
        [
            _counted(plan, s.n),
            *(_points(getattr(s, kind)) for kind in names),
            _points(s.half_width),
        ]
        for s in plan.sizes
    ]
    powers = [
        [_points(t.difference), *(f"{100 * getattr(t, f'power_{kind}'):.0f}" for kind in names)]
        for t in plan.differences
    ]
    needed = [
        [_points(t.difference), *(_counted(plan, getattr(t, f"n_{kind}")) for kind in names)]
        for t in plan.differences
    ]
    tables = {
        f"The smallest difference{of_rates} that is found with {power} power, in points": (
            ["instructions", *names.values(), "± of a win rate"],
            sizes,
        ),
        f"Power at {_counted(plan, plan.n)} instructions, in percent": (
            ["points", *names.values()],
            powers,
        ),
        f"Instructions that it takes for {power} power": (["points", *names.values()], needed),
    }
    notes, rough = _notes(plan, headline), _roughness(plan)
    if form == "latex":
        said = "; ".join([*notes, *rough])
        return "\n\n".join(
            emit(*table, form, tex(f"{plan.board}: {title} ({said})."))
            for title, table in tables.items()
        )
    bullet, between = ("- ", "\n\n") if form == "markdown" else ("  ", "\n")
    words = between.join([first, "\n".join(bullet + note for note in notes)])
    blocks = [f"{title}:{between}{emit(*table, form, '')}" for title, table in tables.items()]
    return "\n\n".join([printable(words), *blocks, *rough])


def kinds(plan: Plan) -> dict[str, str]:
    """What is planned for, with its heading: one pair of rows, one that varies more than most, and
    a pair among all; the latter two where there are more pairs than one."""
    found = {"one_pair": "one pair"}
    if plan.basis.n_pairs > 1:
        found["cautious"] = "cautious"
    if plan.n_pairs > 1:
        found["all_pairs"] = f"all {plan.n_pairs} pairs"
    return found


def plan_records(plan: Plan) -> Records:
    """One record a figure: what it is, for which pairs, what it is given, and its value."""

    records: Records = []

    def record(figure: str, pairs: str, value: float | None, n: int | None, **given: float) -> None:
        planned = value if n is None else n
        records.append(
            {
                "figure": figure,
                "pairs": pairs,
                "n": n,
                "difference": given.get("difference"),
                "power": given.get("power"),
                "value": value,
                "is_rough": planned is not None and plan.is_rough(planned),
            }
        )

    for size in plan.sizes:
        for kind in kinds(plan):
            value = getattr(size, kind)
            record("smallest_difference", kind, value, size.n, power=plan.power)
        record("half_width", "", size.half_width, size.n)
    for target in plan.differences:
        d = target.difference
        for kind in kinds(plan):
            record("power", kind, getattr(target, f"power_{kind}"), plan.n, difference=d)
        for kind in kinds(plan):
            value = getattr(target, f"n_{kind}")
            record("instructions", kind, value, None, difference=d, power=plan.power)
    return records


def _notes(plan: Plan, headline: Column) -> list[str]:
    basis = plan.basis
    notes = [
        basis.source if basis.is_assumed else f"from {basis.source}",
        f"standard deviation of paired differences: {100 * basis.typical:.1f} points",
    ]
    if headline != "win_rate":
        notes.insert(0, f"about win rates, not {headline}: neighbours are those by win rate")
    for kind, name in kinds(plan).items():
        if kind == "cautious":
            notes.append(f"{name}: {100 * basis.cautious:.1f} points, above nine pairs in ten")
        if kind == "all_pairs":
            notes.append(f"{name}: told apart whatever the other rows do (Holm)")
    return notes


def _roughness(plan: Plan) -> list[str]:
    """What the star says, where there is one."""
    numbers = [size.n for size in plan.sizes]
    numbers += [getattr(t, f"n_{kind}") for t in plan.differences for kind in kinds(plan)]
    if not any(n is not None and plan.is_rough(n) for n in numbers):
        return []
    return [
        f"* fewer than some {ENOUGH} instructions on which two rows differ ("
        f"{100 * plan.basis.share_different:.0f} % here): the test asks for more than this plan says"
    ]


def _counted(plan: Plan, n: int | None) -> str:
    """A number of instructions, with a star where it is too small for the plan to be relied on."""
    return "none" if n is None else f"{n}{'*' * plan.is_rough(n)}"


def _points(fraction: float | None) -> str:
    return "none" if fraction is None else f"{100 * fraction:.1f}"
