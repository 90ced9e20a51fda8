"""The paragraph for a paper's methods section, and what to cite: made from what a board pins.

Every sentence follows from the board's settings, its panel and the rows that are there, so that it
is true of one reference or several, of a single judge, a panel or recorded verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from judges.base import Judge
from judges.errors import UserError
from judges.reading import printable
from judges.records import digest
from leaderboard import __version__
from leaderboard.boards import Board
from leaderboard.controls import ControlResult
from leaderboard.results import MIN_COVERAGE, Row
from leaderboard.standings import Standings

ENTRIES = {
    "herdbook": f"""@software{{herdbook,
  title   = {{Herdbook}},
  author  = {{{{The Herdbook contributors}}}},
  version = {{{__version__}}},
  note    = {{Software, licensed under Apache-2.0}}
}}""",
    "wilson1927": """@article{wilson1927,
  title   = {Probable inference, the law of succession, and statistical inference},
  author  = {Wilson, Edwin B.},
  journal = {Journal of the American Statistical Association},
  year    = {1927},
  volume  = {22},
  number  = {158},
  pages   = {209--212}
}""",
    "owen2001": """@book{owen2001,
  title     = {Empirical Likelihood},
  author    = {Owen, Art B.},
  publisher = {Chapman and Hall/CRC},
  year      = {2001}
}""",
    "holm1979": """@article{holm1979,
  title   = {A simple sequentially rejective multiple test procedure},
  author  = {Holm, Sture},
  journal = {Scandinavian Journal of Statistics},
  year    = {1979},
  volume  = {6},
  number  = {2},
  pages   = {65--70}
}""",
    "dubois2024": """@misc{dubois2024,
  title         = {Length-Controlled {AlpacaEval}: A Simple Way to Debias Automatic Evaluators},
  author        = {Dubois, Yann and Galambosi, Bal{\\'a}zs and Liang, Percy and Hashimoto, Tatsunori B.},
  year          = {2024},
  eprint        = {2404.04475},
  archiveprefix = {arXiv}
}""",
    "alpacaeval2023": """@misc{alpacaeval2023,
  title        = {{AlpacaEval}: An Automatic Evaluator of Instruction-following Models},
  author       = {Li, Xuechen and Zhang, Tianyi and Dubois, Yann and Taori, Rohan and Gulrajani, Ishaan
                  and Guestrin, Carlos and Liang, Percy and Hashimoto, Tatsunori B.},
  year         = {2023},
  howpublished = {\\url{https://github.com/tatsu-lab/alpaca_eval}}
}""",
}
"""Key → BibTeX entry of everything that a paragraph can refer to."""

LENGTH_CONTROL = {
    "lc_alpaca_eval": "The column lc_alpaca_eval is the length-controlled win rate of AlpacaEval "
    "(Dubois et al., 2024): a logistic model of the preference on the difference in length, the "
    "instruction's difficulty and the model, read off with the length term left out.",
    "lc_joint": "The column lc_joint is a win rate at the reference's length: a logistic model of "
    "the preference on differences in form, the instruction's difficulty and the model, with "
    "scales and difficulties frozen at calibration, read off with the differences left out (after "
    "Dubois et al., 2024).",
}
"""Column of a length-controlled win rate → what it is."""


def board_hash(board: Board) -> str:
    """One hash for all that a board pins: that of its four hashes."""
    return digest(dict(board.hashes))


def methods_text(board: Board, table: Standings, controls: Sequence[ControlResult]) -> str:
    """The paragraph and the BibTeX entries, as `show --methods` prints them."""
    paragraph = methods_paragraph(board, table, controls)
    return f"{paragraph}\n\n{bibliography(board, table)}"


def methods_paragraph(board: Board, table: Standings, controls: Sequence[ControlResult]) -> str:
    """The paragraph, plain text on one line; names of strangers hold no control characters."""
    sentences = [
        *_setting(board, table),
        *_answers(board, table),
        *_judging(board),
        *_figures(board, table),
        *[LENGTH_CONTROL[name] for name in length_columns(table.frame)],
        *_tests(board, table),
        *_controls(board, controls),
    ]
    return printable(" ".join(sentences)).replace("\n", " ")


def bibliography(board: Board, table: Standings) -> str:
    """The BibTeX entries of what the paragraph names."""
    keys = ["herdbook", "wilson1927", "owen2001"]
    if len(table.models) > 2:
        keys.append("holm1979")
    if length_columns(table.frame):
        keys.append("dubois2024")
    if _imported(board, table):
        keys.append("alpacaeval2023")
    return "\n\n".join(ENTRIES[key] for key in keys)


def length_columns(frame: pd.DataFrame) -> list[str]:
    """The length-controlled columns of a table that hold a figure."""
    return [name for name in LENGTH_CONTROL if name in frame and frame[name].notna().any()]


# ------------------------------------------------------------------------------------ the sentences
def _setting(board: Board, table: Standings) -> list[str]:
    references = board.settings.references
    n_models = int((table.frame["status"] != "reference").sum())
    content = board_hash(board).removeprefix("sha256:")[:16]
    against = (
        f"that of the reference {references[0]}"
        if len(references) == 1
        else f"those of {len(references)} references ({', '.join(references)})"
    )
    return [
        f"{_count(n_models, 'model was', 'models were')} evaluated with Herdbook {__version__} on "
        f"the board {board.name} ({_count(len(board.instructions), 'instruction')}; SHA-256 of "
        f"its content {content}…).",
        f"Each answer was compared with {against}.",
    ]


def _answers(board: Board, table: Standings) -> list[str]:
    status = table.frame["status"].value_counts()
    sentences = []
    if n := int(status.get("generated by host", 0)):
        sentences.append(
            f"{_count(n, 'model was', 'models were')} run by us: {sampling_text(board)}."
        )
    if n := int(status.get("answers submitted", 0)):
        sentences.append(
            f"The answers of {_count(n, 'model')} were made elsewhere and submitted as files."
        )
    if n := int(status.get("recorded verdicts", 0)):
        source = " from AlpacaEval (Li et al., 2023)" if _imported(board, table) else ""
        sentences.append(f"The verdicts on {_count(n, 'model')} were taken over{source}.")
    return sentences


def sampling_text(board: Board) -> str:
    """How models write on this board, in words."""
    how = board.settings.generation
    parts = [f"at most {how.max_tokens} new tokens"]
    if how.temperature == 0:
        parts.append("greedy decoding")
    else:
        parts.append(f"temperature {how.temperature:g}, seed {board.settings.seed}")
    chosen = {"top_p": how.top_p, "top_k": how.top_k, "repetition_penalty": how.repetition_penalty}
    parts += [f"{name} {value:g}" for name, value in chosen.items() if value is not None]
    if None in chosen.values():
        parts.append("the rest as each model's own generation configuration says")
    return ", ".join(parts)


def _judging(board: Board) -> list[str]:
    judges, settings = board.panel.judges, board.settings
    described = "; ".join(f"{judge.name}, {_kind(judge.identity())}" for judge in judges)
    if len(judges) == 1:
        sentences = [f"The judge was {described}."]
    else:
        needed = len(judges) if settings.min_votes == "all" else settings.min_votes
        sentences = [
            f"The judges were a panel of {len(judges)}: {described}.",
            f"The panel's preference is the {board.panel.aggregate} of their votes, where at least "
            f"{needed} of the {len(judges)} votes are there.",
        ]
    for seen, text in _ORDERS.items():
        names = [judge.name for judge in judges if _order(judge, settings.orders) == seen]
        if names:
            who = "It" if len(judges) == 1 else ", ".join(names)
            sentences.append(f"{who} {text.format(seed=settings.seed)}.")
    return sentences


_ORDERS = {
    "both": "judged each pair of answers in both orders of presentation, whose mean is the vote",
    "random": "judged each pair of answers in one order of presentation, drawn for each instruction "
    "by a hash (seed {seed}) and the same for every model",
    "fixed": "judged each pair of answers in one order of presentation, the reference's first",
    "unseen": "judged without an order of presentation",
    "unknown": "judged in orders of presentation that were not recorded",
}


def _order(judge: Judge, orders: str) -> str:
    if judge.sees_order:
        return orders
    return "unknown" if judge.identity().get("kind") == "recorded" else "unseen"


def _kind(identity: Mapping[str, Any]) -> str:
    """What a judge is, from what it says of itself; long texts, such as prompts, are left out."""
    kind, rule = identity.get("kind"), identity.get("rule")
    if kind == "checklist":
        what = "a program that prefers the answer which meets more of an instruction's criteria"
    elif kind == "heuristic":
        what = "a rule that prefers " + ("at random" if rule == "random" else f"the {rule} answer")
    elif kind == "recorded":
        what = "whose verdicts were recorded elsewhere"
    else:
        what = f"a judge of the kind {kind}"
    told = [
        f"{key.replace('_', ' ')} {value}"
        for key, value in identity.items()
        if kind != "recorded"
        and key not in ("kind", "name", "rule")
        and isinstance(value, str | int | float)
        and len(str(value)) <= 60
    ]
    return f"{what} ({', '.join(told)})" if told else what


def _figures(board: Board, table: Standings) -> list[str]:
    several = len(board.settings.references) > 1
    rows = table.frame[table.frame["status"] != "reference"]
    coverage = (rows["n_judged"] / rows["n_items"]).astype(float)
    over = "the instructions" + " that were judged against every reference" * several
    sentences = [
        "A preference is the probability that the model's answer is the better one (0.5 is a "
        f"tie), and a win rate the mean preference over {over}"
        + (", each the mean over the references." if several else "."),
    ]
    if len(rows):
        whole = bool((coverage == 1).all())
        unranked = int((coverage < MIN_COVERAGE).sum())
        sentences.append(
            "Every comparison had a preference."
            if whole
            else f"Missing verdicts were left out, not imputed: {100 * coverage.min():.1f} to "
            f"{100 * coverage.max():.1f} % of a model's comparisons had one"
            + (
                f", and {_count(unranked, 'model')} with less than {100 * MIN_COVERAGE:.0f} % "
                f"{'was' if unranked == 1 else 'were'} not ranked."
                if unranked
                else "."
            )
        )
    sentences.append(
        "Intervals are 95 % score intervals over instructions as the independent units, with "
        "Student's t quantile: for verdicts of 0 and 1 Wilson's (1927), for graded preferences with "
        "their own variance and skewness, and an allowance for rare ones that were not drawn "
        "(Owen, 2001)."
    )
    return sentences


def _tests(board: Board, table: Standings) -> list[str]:
    n, headline = len(table.models), board.settings.headline
    if n < 2:
        return []
    has_reference = bool((table.frame["status"] == "reference").any())
    rows = "ranked rows" + " (among them the reference, a draw everywhere)" * has_reference
    if headline == "win_rate":
        test = (
            "compared on the instructions that both were judged on, by the two-sided score test "
            "that the interval of a paired difference inverts"
        )
    else:
        test = (
            f"compared by {headline}, with Student's t test of the difference from the influence "
            "of each instruction on both figures"
        )
    if n == 2:
        return [f"The two {rows} were {test}, at a level of 5 %."]
    return [
        f"All {n * (n - 1) // 2} pairs of {rows} were {test}, with p-values adjusted by Holm's "
        "method (Holm, 1979) for a family-wise error rate of 5 %; ranks are the intervals that "
        "these tests leave open."
    ]


def _controls(board: Board, controls: Sequence[ControlResult]) -> list[str]:
    if board.is_recorded:
        return ["As the verdicts were recorded, no control answers could be put to the judges."]
    if not controls:
        return ["The board's control answers have not been judged."]
    sentences = []
    for column in dict.fromkeys(result.column for result in controls):
        of = [result for result in controls if result.column == column]
        passed = sum(result.passed for result in of)
        found = ", ".join(f"{c.name} {100 * c.value:.1f} %" for c in of)
        begin = (
            "Control answers of known quality, judged by the same panel against "
            f"{board.settings.references[0]},"
            if column == "win_rate"
            else f"By {column} they"
        )
        sentence = f"{begin} lay where they must in {passed} of {len(of)} cases ({found})"
        for outcome, text in (("failed", "failed"), ("inconclusive", "could not be told")):
            if names := [c.name for c in of if c.outcome == outcome]:
                sentence += f"; {', '.join(names)} {text}"
        sentences.append(sentence + ".")
    return sentences


def _imported(board: Board, table: Standings) -> bool:
    """Whether a row's verdicts came from AlpacaEval."""
    rows = table.frame.loc[table.frame["status"] == "recorded verdicts", "model"]
    for name in rows:
        try:
            manifest = Row(board.path / name).manifest()
        except UserError:  # a broken manifest names no source
            continue
        if manifest is not None and manifest.source.startswith("AlpacaEval,"):
            return True
    return False


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
