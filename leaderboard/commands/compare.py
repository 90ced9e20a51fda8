"""`leaderboard compare`: rows of a board, or files of answers; which is better, and how sure?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import tyro

from judges.errors import UserError
from judges.reading import printable
from leaderboard.boards import Board, load_board
from leaderboard.commands.console import Console
from leaderboard.commands.flags import shown
from leaderboard.comparison import SIGNIFICANT, Comparison, compare_pairs, pairs_of
from leaderboard.head_to_head import (
    Duel,
    HeadToHead,
    board_strengths,
    compare_files,
    find_panel,
    head_to_head,
)
from leaderboard.standings import Standings, standings
from leaderboard.statistics.bradley_terry import BradleyTerry
from leaderboard.table import (
    DATA,
    Format,
    Records,
    _tex,
    caption,
    category_cells,
    data,
    emit,
    latex,
)
from leaderboard.user_files import SUFFIXES

HIGHLY_SIGNIFICANT = 0.01


@dataclass(frozen=True)
class Compare:
    """Compare rows of a board on the same instructions, from their stored verdicts. With --direct
    their answers are judged against each other; with --panel those of answers files are, and no
    board is needed."""

    board: Annotated[str, tyro.conf.Positional, shown("BOARD|FILE")]
    """The board's name; with --panel an answers file."""
    names: Annotated[tuple[str, ...], tyro.conf.Positional, shown("ROW…|FILE…")]
    """Rows, all that are ranked if none is named; with --panel answers files."""
    results: Annotated[Path, shown("FOLDER")] = Path("results")
    """The folder that the boards lie in."""
    baseline: Annotated[str | None, shown("ROW")] = None
    """Compare every row with this one only, not each with each."""
    by: Annotated[Literal["category"] | None, shown("category")] = None
    """Compare within each category."""
    direct: Annotated[bool, shown("")] = False
    """Put the rows' answers before the board's judges, pair by pair; the verdicts are stored."""
    panel: Annotated[str | None, shown("PANEL|JUDGE")] = None
    """Who judges answers files: a packaged panel, a panel file, or a judge like heuristic/longest.
    Nothing is stored."""
    strengths: Annotated[bool, shown("")] = False
    """Print the Bradley–Terry strengths alone; of a board's stored verdicts, unless --direct or
    --panel asks for new ones."""
    format: Annotated[Format, shown("table|markdown|csv|json|latex")] = "table"
    """Tables, Markdown and LaTeX hold points and percent, CSV and JSON fractions in full."""

    def run(self) -> int:
        print(self.text())
        return 0

    def text(self) -> str:
        """What is printed."""
        meets = self.direct or self.panel is not None
        if (meets or self.strengths) and (self.baseline or self.by):
            raise UserError("--baseline and --by are for verdicts against the board's references")
        if self.direct and self.panel is not None:
            raise UserError("give --direct or --panel: rows of a board, or answers files")
        if self.panel is not None:
            files = [Path(name) for name in (self.board, *self.names)]
            found = compare_files(files, find_panel(self.panel), Console())
            return self.meetings(found, f"judged by {self.panel}")
        if Path(self.board).suffix in SUFFIXES:
            raise UserError(f"{self.board}: say who judges answers files: --panel PANEL|JUDGE")
        if self.strengths and self.names and not self.direct:
            raise UserError("--strengths takes no rows, but with --direct or --panel")
        if len(self.names) == 1 and not self.direct and self.baseline is None:
            raise UserError(
                f"Missing a second row to compare {self.names[0]} with; or name none, for all pairs"
            )
        board = load_board(self.board, self.results)
        judges = f"on {board.title}, judged by {', '.join(board.panel.names)}"
        if self.direct:
            return self.meetings(head_to_head(board, self.names, Console()), judges)
        if self.strengths:
            return self.ratings(board_strengths(board), judges)
        return self.differences(board)

    # ----------------------------------------------------------- verdicts against the references
    def differences(self, board: Board) -> str:
        table = standings(board)
        # Of two rows the second is what the first is compared with.
        baseline = (
            self.names[1] if self.baseline is None and len(self.names) == 2 else self.baseline
        )
        categories = [i.category or "(none)" for i in board.instructions] if self.by else None
        made = compare_pairs(table, pairs_of(table, self.names, self.baseline), categories)
        if self.format in DATA:
            return data([_record(one) for one in made], self.format)
        if self.format == "latex":
            return self.paper(board, table, baseline, made if baseline else [])
        if len(made) == 1 and self.format == "table" and not self.by:
            return printable(paragraph(board, table, made[0]))
        heading = (
            f"{board.title}: differences of win rates against "
            f"{' and '.join(board.settings.references)} in points, paired by instruction, judged "
            f"by {', '.join(board.panel.names)}"
        )
        note = (
            f"p: two-sided sign-flip test of each line alone; Holm: adjusted for the "
            f"{_counted(len(made))} shown.\n"
            f"The ranks of the board rest not on these, but on all its {_n_pairs(table)} pairs "
            "tested together."
        )
        if any(one.disagrees for one in made):
            note += f"\n{_DISAGREES}"
        grid = emit(*_difference_cells(made), self.format, "")
        return f"{printable(heading)}\n\n{grid}\n\n{note}"

    def paper(
        self, board: Board, table: Standings, baseline: str | None, made: Sequence[Comparison]
    ) -> str:
        """The LaTeX table of win rates, with marks for what differs from the baseline."""
        named = {*self.names, *([baseline] if baseline else [])} if self.names else {*table.models}
        rows = table.frame[table.frame["model"].isin(named)]
        marks = {(one.category, one.a): _mark(one.p_holm) for one in made}
        text = caption(board)
        if baseline:
            text += (
                f" \\dag{{}} and *: different from {_tex(baseline)}, for better or worse as the win "
                "rates show, at the 5\\,\\% and the 1\\,\\% level (two-sided sign-flip test, paired "
                f"by instruction, Holm-adjusted for {_counted(len(made))})."
            )
        if self.by:
            headers, body = category_cells(board, rows)
            for row in body:
                for n, model in enumerate(headers[2:], 2):
                    row[n] += marks.get((row[0], model), "")
            return latex(headers, body, text)
        body = [
            [
                row["model"],
                f"{100 * row['win_rate']:.1f} ± {50 * (row['high'] - row['low']):.1f}"
                + marks.get((None, row["model"]), ""),
            ]
            for row in rows.to_dict("records")
        ]
        ranked_by = board.settings.headline.replace("_", " ")
        text += (
            f" Bold: no other row of the board has a significantly better {ranked_by} (all pairs "
            "tested together, at 5\\,\\%)."
        )
        best = [n for n, low in enumerate(rows["rank_low"]) if low == 1]
        return latex(["model", "win rate"], body, text, bold=best)

    # -------------------------------------------------------------------------- verdicts on pairs
    def meetings(self, found: HeadToHead, judges: str) -> str:
        if self.strengths:
            return self.ratings(found.strengths, judges)
        if self.format in DATA:
            return data([_duel_record(duel) for duel in found.duels], self.format)
        heading = f"direct win rates (%) {judges}"
        table = self.titled(heading, *_duel_cells(found.duels))
        # Of two models the strengths would say what their win rate does.
        several = len(found.strengths.models) > 2
        return "\n\n".join([table, self.ratings(found.strengths, judges)] if several else [table])

    def ratings(self, strengths: BradleyTerry, judges: str) -> str:
        if self.format in DATA:
            return data(_strength_records(strengths), self.format)
        heading = (
            f"Bradley–Terry ratings {judges}: {strengths.n_battles} judged pairs of answers to "
            f"{strengths.n_clusters} instructions; {strengths.anchor} is at 1,000, and 400 points "
            "are odds of 10 to 1"
        )
        return self.titled(heading, *_strength_cells(strengths))

    def titled(self, heading: str, headers: Sequence[str], body: Sequence[Sequence[str]]) -> str:
        if self.format == "latex":
            return latex(headers, body, _tex(heading[0].upper() + heading[1:] + "."))
        return f"{printable(heading)}\n\n{emit(headers, body, self.format, '')}"


# ------------------------------------------------------------------------------------- differences
_DISAGREES = (
    "Close to the limit, or where few instructions differ, interval and test can be of two minds "
    "about zero: read that as undecided."
)


def paragraph(board: Board, table: Standings, pair: Comparison) -> str:
    """Two rows in plain words."""
    said = "can be told apart" if pair.is_separable else "cannot be told apart"
    lines = [
        f"{pair.a} - {pair.b} on {board.name}: {_points(pair.difference)} points of win rate "
        f"({100 * pair.level:.0f} % interval {_points(pair.low)} to {_points(pair.high)})",
        f"  {pair.n} instructions: {pair.n_wins} better, {pair.n_ties} equal, "
        f"{pair.n_losses} worse",
        f"  p {_p_equals(pair.p_value)} (two-sided sign-flip test of these two alone)",
        f"  among all {_n_pairs(table)} pairs of the board, tested together as for ranks: {said}",
    ]
    if pair.disagrees:
        lines.append(f"  {_DISAGREES}")
    return "\n".join(lines)


def _difference_cells(made: Sequence[Comparison]) -> tuple[list[str], list[list[str]]]:
    headers = ["model", "against", "points", "interval", "p", "Holm", "better/equal/worse", "n"]
    body = [
        [
            one.a,
            one.b,
            _points(one.difference),
            f"[{_points(one.low)}, {_points(one.high)}]",
            _p(one.p_value),
            _p(one.p_holm),
            f"{one.n_wins}/{one.n_ties}/{one.n_losses}",
            str(one.n),
        ]
        for one in made
    ]
    if made[0].category is None:
        return headers, body
    return ["category", *headers], [
        [one.category or "", *row] for one, row in zip(made, body, strict=True)
    ]


def _record(one: Comparison) -> dict[str, object]:
    """A line for programs: within categories without what is about all instructions."""
    left_out = "category" if one.category is None else "is_separable"
    return {key: value for key, value in asdict(one).items() if key != left_out}


def _counted(n: int) -> str:
    return f"{n} comparison{'s' if n != 1 else ''}"


def _n_pairs(table: Standings) -> int:
    return len(table.models) * (len(table.models) - 1) // 2


def _points(fraction: float) -> str:
    return f"{100 * fraction:+.1f}"


def _p(p: float) -> str:
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _p_equals(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"= {p:.4f}"


def _mark(p: float) -> str:
    return "*" if p <= HIGHLY_SIGNIFICANT else "†" if p <= SIGNIFICANT else ""


# ---------------------------------------------------------------------------- duels and strengths
def _duel_cells(duels: Sequence[Duel]) -> tuple[list[str], list[list[str]]]:
    body = [
        [
            duel.a,
            duel.b,
            "" if pd.isna(duel.rate.value) else f"{100 * duel.rate.value:.1f}",
            f"[{100 * duel.rate.low:.1f}, {100 * duel.rate.high:.1f}]",
            f"{duel.rate.n_wins}/{duel.rate.n_draws}/{duel.rate.n_losses}",
            f"{duel.rate.n_judged}/{duel.rate.n_items}",
        ]
        for duel in duels
    ]
    return ["model", "against", "win rate", "interval", "better/equal/worse", "judged"], body


def _duel_record(duel: Duel) -> dict[str, object]:
    rate = duel.rate
    return {
        "a": duel.a,
        "b": duel.b,
        "win_rate": rate.value,
        "standard_error": rate.standard_error,
        "low": rate.low,
        "high": rate.high,
        "level": rate.level,
        "n_wins": rate.n_wins,
        "n_ties": rate.n_draws,
        "n_losses": rate.n_losses,
        "n_judged": rate.n_judged,
        "n_items": rate.n_items,
    }


def _strength_records(strengths: BradleyTerry) -> Records:
    """One record a model, the strongest first."""
    anchor = strengths.models.index(strengths.anchor or "")
    return [
        {
            "model": strengths.models[i],
            "rating": strengths.rating[i],
            "low": strengths.low[i],
            "high": strengths.high[i],
            "level": strengths.level,
            "strength": strengths.strength[i],
            "standard_error": strengths.standard_error[i],
            "win_probability": strengths.win_probability[i, anchor],
        }
        for i in (-strengths.strength).argsort(kind="stable")
    ]


def _strength_cells(strengths: BradleyTerry) -> tuple[list[str], list[list[str]]]:
    body = [
        [
            record["model"],
            f"{record['rating']:.0f}",
            f"[{record['low']:.0f}, {record['high']:.0f}]",
            f"{100 * record['win_probability']:.1f}",
        ]
        for record in _strength_records(strengths)
    ]
    return ["model", "rating", "interval", f"wins against {strengths.anchor} (%)"], body
