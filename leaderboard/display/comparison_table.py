"""Comparisons as people and programs read them: a paragraph, tables, LaTeX, records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from judges.reading import printable
from leaderboard.boards.board import Board
from leaderboard.comparing.comparison import SIGNIFICANT, Comparison
from leaderboard.comparing.head_to_head import Duel, HeadToHead
from leaderboard.display.table import (
    DATA,
    Format,
    Records,
    caption,
    category_cells,
    data,
    emit,
    latex,
    tex,
)
from leaderboard.rows.standings import Standings
from leaderboard.statistics.bradley_terry import BradleyTerry

HIGHLY_SIGNIFICANT = 0.01
Cells = tuple[list[str], list[list[str]]]

_DISAGREES = (
    "Close to the limit, or where few instructions differ, interval and test can be of two minds "
    "about {}: read that as undecided."
)


# ----------------------------------------------------------- verdicts against the board's references
def paragraph(board: Board, table: Standings, pair: Comparison) -> str:
    """Two rows in plain words."""
    headline, n = board.settings.headline, _n_pairs(table)
    among = f"among all {n} pairs of the board" if n > 1 else "as the only pair of the board"
    together = "tested together" if n > 1 else "tested"
    tested = f"{together} as for ranks" if headline == "win_rate" else f"by win rate, {together}"
    lines = [
        f"{pair.a} - {pair.b} on {board.name}: {_points(pair.difference)} points of win rate "
        f"({100 * pair.level:.0f} % interval {_points(pair.low)} to {_points(pair.high)})",
        f"  {pair.n} instructions: {pair.n_wins} better, {pair.n_ties} equal, "
        f"{pair.n_losses} worse",
        f"  p {_p_equals(pair.p_value)} (two-sided sign-flip test of these two alone)",
        f"  {among}, {tested}: {_told_apart(pair.is_separable)}",
    ]
    if pair.headline_difference is not None and pair.headline_is_separable is not None:
        lines.append(
            f"  by {headline}, which the board ranks by: {_points(pair.headline_difference)} "
            f"points, {_told_apart(pair.headline_is_separable)} {among}"
        )
    if pair.disagrees:
        lines.append(f"  {_DISAGREES.format('zero')}")
    return printable("\n".join(lines))


def differences_text(
    board: Board, table: Standings, made: Sequence[Comparison], form: Format
) -> str:
    """A family of comparisons as a table, with what they are above and how to read them below."""
    heading = (
        f"{board.title}: differences of win rates against "
        f"{' and '.join(board.settings.references)} in points, paired by instruction, judged by "
        f"{board.panel.called}"
    )
    headline, n = board.settings.headline, _n_pairs(table)
    pairs = f"all {n} pairs of its rows together" if n > 1 else "the only pair of its rows"
    notes = [_family(len(made))]
    if headline == "win_rate":
        notes.append(f"The ranks of the board rest not on these, but on another test of {pairs}.")
    elif made[0].category is None:
        notes.append(
            f"The board ranks by {headline}, not by win rate. The last column is the difference of "
            f"that figure in points; *: a test of {pairs} tells the two apart."
        )
    else:
        notes.append(f"The board ranks by {headline}, not by win rate.")
    if any(one.disagrees for one in made):
        notes.append(_DISAGREES.format("zero"))
    return _titled(heading, _difference_cells(made, headline), notes, form)


def difference_records(made: Sequence[Comparison]) -> Records:
    """A line each for programs, without the keys that say nothing of any."""
    records = [asdict(one) for one in made]
    absent = {key for key in records[0] if all(record[key] is None for record in records)}
    if "category" not in absent:
        absent.add("is_separable")  # it is about all instructions
    return [{key: v for key, v in record.items() if key not in absent} for record in records]


def paper(
    board: Board,
    table: Standings,
    named: Sequence[str],
    baseline: str | None,
    made: Sequence[Comparison],
) -> str:
    """The LaTeX table of the named rows, all where none is, by category where `made` is.

    With a baseline, `made` is every other row compared with it, which marks what differs.
    """
    shown = {*named, *([baseline] if baseline else [])} if named else {*table.models}
    rows = table.frame[table.frame["model"].isin(shown)]
    headline, by_category = board.settings.headline, made[0].category is not None
    marks = {(one.category, one.a): _mark(one.p_holm) for one in made} if baseline else {}
    text = caption(board)
    if headline != "win_rate":
        ordered = "columns" if by_category else "rows"
        text += (
            f" The {ordered} are in the order of {tex(headline)}, the win rate controlled for "
            "length (\\%), by which the board ranks."
        )
    if baseline:
        adjusted = f", Holm-adjusted for {len(made)} comparisons" if len(made) > 1 else ""
        text += (
            f" \\dag{{}} and *: win rate different from that of {tex(baseline)}, for better or "
            "worse as the win rates show, at the 5\\,\\% and the 1\\,\\% level (two-sided sign-flip "
            f"test, paired by instruction{adjusted})."
        )
    if by_category:
        headers, body = category_cells(board, rows)
        for row in body:
            for n, model in enumerate(headers[2:], 2):
                row[n] += marks.get((row[0], model), "")
        return latex(headers, body, text)
    records = rows.to_dict("records")
    rates = [
        _half_width(row["win_rate"], row["low"], row["high"]) + marks.get((None, row["model"]), "")
        for row in records
    ]
    columns = {"model": [row["model"] for row in records], "win rate": rates}
    better = "win rate"
    if headline != "win_rate":
        better = tex(headline)
        ranked_by = [
            _half_width(row[headline], row[f"{headline}_low"], row[f"{headline}_high"])
            for row in records
        ]
        columns = {"model": columns["model"], headline: ranked_by, "win rate": rates}
    text += (
        f" Bold: no other row of the board has a significantly better {better} (all pairs tested "
        "together, at 5\\,\\%)."
    )
    best = [n for n, low in enumerate(rows["rank_low"]) if low == 1]
    body = [list(cells) for cells in zip(*columns.values(), strict=True)]
    return latex(list(columns), body, text, bold=best)


def _difference_cells(made: Sequence[Comparison], headline: str) -> Cells:
    columns: dict[str, list[str]] = {}
    if made[0].category is not None:
        columns["category"] = [one.category or "" for one in made]
    columns |= {
        "model": [one.a for one in made],
        "against": [one.b for one in made],
        "points": [_points(one.difference) for one in made],
        "interval": [f"[{_points(one.low)}, {_points(one.high)}]" for one in made],
        "p": [_p(one.p_value) for one in made],
        "Holm": [_p(one.p_holm) for one in made],
        "better/equal/worse": [f"{one.n_wins}/{one.n_ties}/{one.n_losses}" for one in made],
        "n": [str(one.n) for one in made],
    }
    if made[0].headline_difference is not None:
        columns[f"by {headline}"] = [
            _points(one.headline_difference or 0.0) + ("*" if one.headline_is_separable else "")
            for one in made
        ]
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


# -------------------------------------------------------------------------------- verdicts on pairs
def meetings_text(found: HeadToHead, judges: str, form: Format) -> str:
    """How pairs fared against each other, and the ratings where they say more than that."""
    if form in DATA:
        return data([_duel_record(duel) for duel in found.duels], form)
    judged = [duel for duel in found.duels if duel.rate.n_judged]
    notes = [_family(len(judged), "the preferences less one half")] if judged else []
    if n := len(found.duels) - len(judged):
        notes.append(f"{n} of {len(found.duels)} pairs are not judged.")
    if any(duel.disagrees for duel in found.duels):
        notes.append(_DISAGREES.format("50 %"))
    table = _titled(f"direct win rates (%) {judges}", _duel_cells(found.duels), notes, form)
    # In a tree of pairs the strengths would say what the win rates do.
    if found.strengths is None or found.n_met < len(found.strengths.models):
        return table
    return "\n\n".join([table, ratings_text(found.strengths, judges, form)])


def ratings_text(strengths: BradleyTerry, judges: str, form: Format) -> str:
    """The strengths, the strongest model first."""
    if form in DATA:
        return data(_strength_records(strengths), form)
    heading = (
        f"Bradley–Terry ratings {judges}: {strengths.n_battles} judged pairs of answers to "
        f"{strengths.n_clusters} instructions; {strengths.anchor} is at 1,000, and 400 points "
        "are odds of 10 to 1"
    )
    return _titled(heading, _strength_cells(strengths), [], form)


def _duel_cells(duels: Sequence[Duel]) -> Cells:
    body = [
        [
            duel.a,
            duel.b,
            *(
                [
                    f"{100 * duel.rate.value:.1f}",
                    f"[{100 * duel.rate.low:.1f}, {100 * duel.rate.high:.1f}]",
                    _p(duel.p_value),
                    _p(duel.p_holm),
                ]
                if duel.rate.n_judged
                else ["not judged", "", "", ""]
            ),
            f"{duel.rate.n_wins}/{duel.rate.n_draws}/{duel.rate.n_losses}",
            f"{duel.rate.n_judged}/{duel.rate.n_items}",
        ]
        for duel in duels
    ]
    headers = ["model", "against", "win rate", "interval", "p", "Holm"]
    return [*headers, "better/equal/worse", "judged"], body


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
        "p_value": duel.p_value,
        "p_holm": duel.p_holm,
        "n_comparisons": duel.n_comparisons,
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


def _strength_cells(strengths: BradleyTerry) -> Cells:
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


# ------------------------------------------------------------------------------ cells and sentences
def _titled(heading: str, cells: Cells, notes: Sequence[str], form: Format) -> str:
    """A table with its heading above and notes below, or in LaTeX all of it in the caption."""
    if form == "latex":
        sentences = [f"{heading[0].upper()}{heading[1:]}.", *notes]
        return latex(*cells, " ".join(map(tex, sentences)))
    below = ["\n".join(map(printable, notes))] if notes else []
    return "\n\n".join([printable(heading), emit(*cells, form, ""), *below])


def _family(n: int, of: str = "") -> str:
    """What p and Holm are, in a table of n comparisons."""
    test = f"two-sided sign-flip test{f' of {of}' if of else ''}"
    if n == 1:
        return f"p: {test}; Holm: the same, as one comparison alone is shown."
    return f"p: {test}, of each line alone; Holm: adjusted for the {n} comparisons shown."


def _told_apart(is_separable: bool) -> str:
    return "can be told apart" if is_separable else "cannot be told apart"


def _n_pairs(table: Standings) -> int:
    return len(table.models) * (len(table.models) - 1) // 2


def _half_width(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} ± {50 * (high - low):.1f}"


def _points(fraction: float) -> str:
    text = f"{100 * fraction:+.1f}"
    return "+0.0" if text == "-0.0" else text


def _p(p: float) -> str:
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _p_equals(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"= {p:.4f}"


def _mark(p: float) -> str:
    return "*" if p <= HIGHLY_SIGNIFICANT else "†" if p <= SIGNIFICANT else ""
