"""`leaderboard annotate`: pairs of answers in, preferences to train on out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from judges.base import Orders
from judges.calling.caller import Caller
from judges.errors import UserError
from judges.panel import COIN
from judges.reading import printable
from leaderboard.commands.console import Console
from leaderboard.commands.flags import shown
from leaderboard.comparing.file_comparison import find_panel
from leaderboard.display.dry_run import describe_dry_run
from leaderboard.judging.estimate import spent
from leaderboard.preferences import (
    annotate_pairs,
    check_plan,
    estimates,
    plan_annotation,
    read_pairs,
    write_preferences,
)
from leaderboard.rows.summary import MIN_COVERAGE


@dataclass(frozen=True)
class Annotate:
    """Have a panel say which answer of each pair is better, and write preferences to train on."""

    pairs: Annotated[Path, tyro.conf.Positional, shown("PAIRS")]
    """A json, jsonl, csv or parquet file with `instruction` (and `input`), `prompt` or `messages`,
    and with `output_1` and `output_2`."""
    panel: Annotated[str, shown("PANEL|JUDGE")]
    """Who judges: a packaged panel, a panel file, or a judge like pairwise/openai/NAME."""
    out: Annotated[Path, shown("FILE.jsonl")] = Path("prefs.jsonl")
    """Where the preferences go."""
    judge_model: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], shown("[SLOT=]MODEL")] = ()
    """The models of a panel that leaves them open; repeatable."""
    flip: Annotated[float, shown("P")] = 0.0
    """Flip labels at this rate: with probability 2P a coin decides, and nobody is asked."""
    multi: Annotated[bool, shown("")] = False
    """Rows hold samples under `output`: pair up those of each instruction."""
    orders: Annotated[Orders, shown("random|both|fixed")] = "random"
    """Show each pair in one order by a stable hash, in both, or as given."""
    seed: Annotated[int, shown("N")] = 0
    """Of all draws: orders, judges, coins, pairs."""
    max_cost: Annotated[float | None, shown("USD")] = None
    """Stop when so much is spent; what was paid for is kept."""
    batch: Annotated[bool, shown("")] = False
    """Ask by the providers' batch services: half the price, up to a day."""
    dry_run: Annotated[bool, shown("")] = False
    """Print the calls that this run would make, and their cost, and ask nothing."""
    overwrite: Annotated[bool, shown("")] = False
    """Replace the file that is there."""

    def run(self) -> Literal[0, 3, 4]:
        self._check_out()
        panel, watch = find_panel(self.panel, self.judge_model), Console()
        pairs = read_pairs(self.pairs, multi=self.multi, seed=self.seed, watch=watch)
        plan = plan_annotation(pairs, panel, flip=self.flip, orders=self.orders, seed=self.seed)
        with Caller.default(
            max_cost_usd=self.max_cost, batch=self.batch, tell=watch.note, show=watch.waiting
        ) as caller:
            if self.dry_run:
                print(describe_dry_run(estimates(plan, caller)))
                return 0
            check_plan(plan, caller, watch)
            found = annotate_pairs(plan, caller, watch)
            if caller.n_calls:
                print(spent(caller, advice=""), file=sys.stderr)
        made = found.preferences
        if made:
            write_preferences(self.out, made)
        ties = sum(p.preference == 0.5 for p in made)
        coins = sum(COIN in p.annotators for p in made)
        where = str(self.out) if made else f"{self.out} is not written"
        print(f"{where}: {len(made)} of {len(pairs)} pairs judged, {ties} ties, {coins} by a coin")
        for reason, count in sorted(found.errors.items()):
            print(printable(f"  missing: {reason} ({count})"))
        if found.n_coins_left_out:
            print(f"{found.n_coins_left_out} labels by a coin are left out, to keep their share")
        ways_on = {"a higher --max-cost": caller.stopped, "--overwrite": self.out.exists()}
        if len(made) < len(pairs):
            more = [flag for flag, is_needed in ways_on.items() if is_needed]
            again = f" with {' and '.join(more)}" if more else ""
            print(
                f"the same command{again} asks again for what failed; replies that could not be "
                "read are stored, and are not asked for anew"
            )
        if caller.stopped:
            return 4
        return 0 if found.coverage >= MIN_COVERAGE else 3

    def _check_out(self) -> None:
        """Raises UserError for a file that cannot be written, before anybody is paid."""
        folder = self.out.resolve().parent
        if self.out.suffix.lower() != ".jsonl":
            raise UserError(f"--out {self.out}: the preferences go into a .jsonl file")
        if not folder.is_dir():
            raise UserError(f"--out {self.out}: there is no folder {folder}")
        if self.out.is_dir() or self.out.resolve() == self.pairs.resolve():
            raise UserError(f"--out {self.out}: give another name")
        if self.out.exists() and not (self.overwrite or self.dry_run):
            raise UserError(f"{self.out} is there already; give another --out, or --overwrite")
