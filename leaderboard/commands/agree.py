"""`leaderboard agree`: is a judge, or a panel, good enough to stand in for people?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from judges.calling.caller import Caller
from judges.errors import UserError
from judges.schema import Comparison
from leaderboard.commands.console import Console
from leaderboard.commands.flags import shown
from leaderboard.comparing.file_comparison import find_panel
from leaderboard.display.dry_run import describe_dry_run
from leaderboard.judging.estimate import spent
from leaderboard.preferences import Plan, check_plan, estimates
from leaderboard.rows.results import json_text
from leaderboard.rows.summary import MIN_COVERAGE
from leaderboard.statistics.against_majority import Unparsed
from leaderboard.user_files import check_file
from leaderboard.validity.agree import Agreement, measure
from leaderboard.validity.agreement_report import record, text, write_report
from leaderboard.validity.form import write_form
from leaderboard.validity.human_files import packaged_humans, read_comparisons, read_humans
from leaderboard.validity.humans import Humans
from leaderboard.validity.judge_figures import Settings
from leaderboard.validity.judged import Judged, judge_pairs, own_floors, plan_judging, with_floors
from leaderboard.validity.report_folder import check_folder

FREE = "offline"
"""Who judges the packaged pairs if nobody is named: it asks no model."""


@dataclass(frozen=True)
class Agree:
    """Can a judge stand in for people? Judges, their panel and the people themselves, each held
    against the majority of k other people on the same labelled pairs, with intervals, biases, floors
    and a verdict. Without flags: the pairs that come along and a judge that asks no model."""

    panel: Annotated[str | None, shown("PANEL|JUDGE")] = None
    """Who judges the pairs: a packaged panel, a panel file, or a judge like pairwise/openai/NAME.
    Verdicts that a file of labels holds are measured as well."""
    judge_model: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], shown("[SLOT=]MODEL")] = ()
    """The models of a panel that leaves them open; repeatable."""
    humans: Annotated[tuple[Path, ...], shown("FILE…")] = ()
    """What people said: our JSONL or CSV, what an annotation page gave back, or a file of Chatbot
    Arena, PandaLM, Auto-J, FairEval, LLMBar or AlpacaEval; several about the same pairs."""
    pairs: Annotated[Path | None, shown("FILE")] = None
    """The pairs that labels without texts are about, or that --make-form shows."""
    make_form: Annotated[Path | None, shown("FILE.html")] = None
    """Write an annotation page for the pairs to a new file, and measure nothing."""
    out: Annotated[Path | None, shown("FOLDER")] = None
    """Write report.md, report.json and the figures there; `leaderboard judges` finds what lies in
    results/agreement/NAME."""
    k: Annotated[int | None, shown("K")] = None
    """Hold an annotator against so many others, if not against as many as most pairs have, 20 at
    most."""
    epsilon: Annotated[float, shown("E")] = 0.2
    """What the alternative annotator test forgives a judge: 0.2 beside experts, 0.15 beside trained
    people, 0.1 beside a crowd."""
    unparsed: Annotated[Unparsed, shown("missing|tie|wrong")] = "missing"
    """What a verdict that could not be read counts as, in the matrix and order by order."""
    max_cost: Annotated[float | None, shown("USD")] = None
    """Stop when so much is spent; what was paid for is kept."""
    batch: Annotated[bool, shown("")] = False
    """Ask by the providers' batch services: half the price, up to a day."""
    dry_run: Annotated[bool, shown("")] = False
    """Print the calls that this run would make, and their cost, and ask nothing."""
    format: Annotated[Literal["table", "markdown", "json"], shown("table|markdown|json")] = "table"
    """JSON is what report.json holds."""

    def run(self) -> Literal[0, 3, 4]:
        self._check()
        if self.make_form is not None:
            print(self._form(self.make_form))
            return 0
        humans, watch = self._humans(), Console()
        plan = self._plan(humans)
        with Caller.default(
            max_cost_usd=self.max_cost, batch=self.batch, tell=watch.note, show=watch.waiting
        ) as caller:
            if self.dry_run:
                print(describe_dry_run([] if plan is None else estimates(plan, caller)))
                return 0
            judged = Judged(verdicts=())
            if plan is not None:
                humans = _with_notes(humans, own_floors(plan.panel))
                check_plan(plan, caller, watch)
                judged = judge_pairs(plan, caller, watch)
            asked = {verdict.annotator for verdict in judged.verdicts}
            settings = Settings(k=self.k, epsilon=self.epsilon, unparsed=self.unparsed)
            found = measure(humans, with_floors(humans, judged, caller), settings)
            if caller.n_calls or caller.stopped:
                print(spent(caller), file=sys.stderr)
        self._tell(found, _incomplete(found) if caller.stopped else "")
        if caller.stopped:
            return 4
        own = [one for one in found.judges if one.name in asked]
        return 0 if all(one.n_missing <= (1 - MIN_COVERAGE) * one.n_verdicts for one in own) else 3

    def _check(self) -> None:
        """Raises UserError for flags that cannot be, before anybody is paid."""
        if self.k is not None and self.k < 1:
            raise UserError(f"--k {self.k}: at least one other person is needed")
        if not 0 <= self.epsilon < 1:
            raise UserError(f"--epsilon {self.epsilon:g}: a share from 0 to below 1 is needed")
        if self.judge_model and self.panel is None:
            raise UserError("--judge-model goes with --panel")
        if self.pairs is not None and not self.humans and self.make_form is None:
            raise UserError("--pairs goes with --humans, or with --make-form")
        if self.pairs is not None:
            check_file(self.pairs)
        if self.make_form is not None:
            others = replace(
                Agree(), humans=self.humans, pairs=self.pairs, make_form=self.make_form
            )
            if self != others:
                raise UserError("--make-form goes with no other option but --humans and --pairs")
        if self.out is not None:
            check_folder(self.out)

    def _form(self, file: Path) -> str:
        if file.suffix.lower() not in (".html", ".htm"):
            raise UserError(f"--make-form {file}: the page goes into an .html file")
        if file.exists():
            raise UserError(f"--make-form {file}: there is such a file; give another name")
        if not file.resolve().parent.is_dir():
            raise UserError(f"--make-form {file}: there is no folder {file.resolve().parent}")
        pairs: Humans | Sequence[Comparison] = self._humans()
        come = " + ".join(map(str, self.humans)) or "the packaged pairs"
        if self.pairs is not None and not self.humans:
            pairs, come = read_comparisons(self.pairs), str(self.pairs)
        n = write_form(pairs, file, title="Which answer is better?")
        back = "" if not (self.humans or self.pairs) else f" --pairs {self.pairs or self.humans[0]}"
        return (
            f"{file}: {n} pairs of {come}, without names and in an order of its own. Open it in a "
            f"browser; what it saves is read by: leaderboard agree --humans labels.json{back}"
        )

    def _humans(self) -> Humans:
        return read_humans(*self.humans, pairs=self.pairs) if self.humans else packaged_humans()

    def _plan(self, humans: Humans) -> Plan | None:
        """What is asked of whom; None where nobody is named and none is needed."""
        panel = FREE if self.panel is None and not self.humans else self.panel
        return None if panel is None else plan_judging(humans, find_panel(panel, self.judge_model))

    def _tell(self, found: Agreement, incomplete: str) -> None:
        files = [] if self.out is None else write_report(found, self.out, incomplete)
        if self.format == "json":
            print(json_text(record(found, incomplete)), end="")
            return
        blocks = [text(found, self.format, incomplete)]
        blocks += ["\n".join(f"written: {file}" for file in files)] if files else []
        if self.out is None:
            blocks.append("--out FOLDER writes the whole report: every table, JSON and figures.")
        print("\n\n".join(blocks))


def _with_notes(humans: Humans, floors: list[str]) -> Humans:
    """With a line on each judge of the panel that is a floor."""
    notes = [f"{name} does not read: it is measured among the floors (°)." for name in floors]
    return replace(humans, notes=(*humans.notes, *notes))


def _incomplete(found: Agreement) -> str:
    missing = sum(one.n_missing for one in found.judges)
    whole = sum(one.n_verdicts for one in found.judges if not one.is_floor)
    return (
        f"Incomplete: stopped at the budget, {missing:,} of {whole:,} verdicts are missing. The "
        "figures are those of the pairs that were judged, not of all."
    )
