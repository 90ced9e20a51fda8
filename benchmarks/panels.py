"""Panels against single judges on LLMBar's real verdicts: writes the tables of docs/panels.md.

    python benchmarks/panels.py [--data ../shared/data/human] [--page docs/panels.md] [--check]

Every verdict is replayed by a judge of the kind `recorded`, panels are `judges.panel`'s, and every
figure is a function of `leaderboard.statistics`. The result depends on the data alone. --check
compares the page instead of writing it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

import llmbar
import numpy as np
import pandas as pd
from llmbar import Verdicts
from numpy.typing import NDArray

from judges.panel import Aggregate, panel_preferences
from leaderboard.statistics.annotator_pools import (
    disagreement,
    label_agreement,
    label_shares,
    mode_error,
    with_flips,
)
from leaderboard.statistics.panels import (
    agreement,
    effective_votes,
    flips,
    gold_figures,
    hard,
    panel_agreement,
)
from leaderboard.statistics.uncertainty import (
    Floats,
    Interval,
    difference_interval,
    mean_interval,
)

Judge = tuple[str, str]
MODELS = ("GPT-4", "PaLM2", "Falcon", "ChatGPT-0301", "LLaMA2", "ChatGPT")
STRATEGIES = ("Vanilla", "CoT", "Metrics_Reference", "Swap", "Swap_CoT")
"""Those with which all six models were asked."""
AGGREGATES: tuple[Aggregate, ...] = ("majority", "median", "weighted")
"""With votes of 0, 0.5 and 1 the mean lies on the side of the majority: it is left out."""
MANY = ("natural", "adversarial_neighbor", "adversarial_gpt_out")
"""The subsets that every way of asking covers."""
LEFT_OUT = ("processed_mt_bench",)
"""Four models only."""
N_POOLS = 200


class Panel:
    """Some judges on the items of some subsets, those that all of them gave both verdicts on."""

    def __init__(self, verdicts: Verdicts, judges: Sequence[Judge], subsets: Iterable[str]) -> None:
        original, swapped = verdicts.original[list(judges)], verdicts.swapped[list(judges)]
        asked = np.isin(verdicts.subset, list(subsets))
        whole = asked & (original.notna() & swapped.notna()).all(axis=1).to_numpy()
        self.judges = list(judges)
        self.original, self.swapped = (o[whole].to_numpy() for o in (original, swapped))
        self.gold, self.subset = verdicts.gold[whole], verdicts.subset[whole]
        self.ids = np.array(verdicts.ids)[whole]
        self.frame = pd.concat([verdicts.annotations[judge] for judge in judges])
        self.names = [llmbar.name(*judge) for judge in judges]

    @property
    def votes(self) -> Floats:
        """Of both orders, shape (items, judges)."""
        return (self.original + self.swapped) / 2

    def right(self, preference: Floats) -> Floats:
        """How right a choice is: 1, 0, or half for a tie."""
        return 1 - np.abs(hard(preference) - self.gold)

    def preference(self, aggregate: Aggregate, weights: Sequence[float] = ()) -> Floats:
        """What the panel prefers."""
        found = panel_preferences(
            self.frame,
            list(self.ids),
            self.names,
            aggregate=aggregate,
            n_orders=[2] * len(self.names),
            weights=weights,
        )
        return found["preference"].to_numpy(float)

    def learned(self, aggregate: Aggregate | None) -> Floats:
        """How right the best judge (None), or the panel with weights, is in each subset, having been
        chosen, or weighed, on the other subsets."""
        result = np.full(len(self.gold), np.nan)
        each = np.column_stack([self.right(vote) for vote in self.votes.T])
        for subset in np.unique(self.subset):
            here = self.subset == subset
            rates = (each[~here].sum(axis=0) + 1) / ((~here).sum() + 2)
            if aggregate is None:
                result[here] = each[here, int(rates.argmax())]
                continue
            # The weights of independent judges; one that is no better than a coin gets next to none.
            weights = np.maximum(np.log(rates / (1 - rates)), 1e-6)
            result[here] = self.right(self.preference(aggregate, weights.tolist()))[here]
        return result

    def choices(self, aggregate: Aggregate) -> Floats:
        """How right the panel is on each item."""
        learns = aggregate == "weighted"
        return self.learned(aggregate) if learns else self.right(self.preference(aggregate))


# --------------------------------------------------------------------------------------- the tables
def singles(verdicts: Verdicts) -> str:
    """Every model alone: accuracy, flips, first-shown rate."""
    rows = []
    for strategy, model in product(STRATEGIES, MODELS):
        judge = (model, strategy)
        of = ~np.isin(verdicts.subset, LEFT_OUT)
        original, swapped = (o[judge].to_numpy()[of] for o in (verdicts.original, verdicts.swapped))
        gold = gold_figures(original, swapped, verdicts.gold[of])
        found = flips(original, swapped)
        assert found.rate is not None
        assert found.first_shown is not None
        rows.append(
            [
                strategy,
                model,
                f"{100 * gold.accuracy_average:.1f}",
                f"{100 * gold.accuracy_both:.1f}",
                f"{found.n_flipped} of {found.n_decided}",
                _percent(found.rate),
                _percent(found.first_shown),
            ]
        )
    head = "asked", "judge", "right", "right in both orders", "flips", "flips %", "first shown %"
    return _table(head, rows)


def panels(verdicts: Verdicts) -> str:
    """The best judge against the panel of six, by how they were asked."""
    rows = []
    for strategy in STRATEGIES:
        panel = _asked(verdicts, strategy)
        alone = f"{100 * independent(panel):.1f}"
        rows.append([strategy, *_beside_the_best(panel, panel.gold >= 0), alone])
    head = ["asked", "n", "best judge", *AGGREGATES, "majority, were they independent"]
    return _table(head, rows)


def panels_by_subset(verdicts: Verdicts) -> str:
    """The same for one way of asking, by subset."""
    panel = _asked(verdicts, "Vanilla")
    subsets = dict.fromkeys(panel.subset.tolist())
    rows = [[one, *_beside_the_best(panel, panel.subset == one)] for one in subsets]
    return _table(["subset", "n", "best judge", *AGGREGATES], rows)


def _beside_the_best(panel: Panel, here: NDArray[np.bool_]) -> list[str]:
    """On some items: how many they are, the best judge, and each aggregate less the best judge."""
    best = panel.learned(None)[here]
    cells = [str(len(best)), _percent(mean_interval(best))]
    for aggregate in AGGREGATES:
        found = panel.choices(aggregate)[here]
        cells.append(f"{100 * found.mean():.1f} ({_signed(difference_interval(found - best))})")
    return cells


def independent(panel: Panel) -> float:
    """How right a majority of independent judges would be, each as right and as undecided as it is."""
    shares = label_shares(1 - np.abs(hard(panel.votes.T) - panel.gold))
    total = 0.0
    for outcome in product(range(3), repeat=len(shares)):
        chance = float(np.prod(shares[range(len(shares)), outcome]))
        total += chance * (np.sign(sum(outcome) - len(shares)) + 1) / 2
    return total


def between(verdicts: Verdicts) -> str:
    """Agreement above the diagonal, correlation below it."""
    panel, k = _asked(verdicts, "Vanilla"), len(MODELS)
    cells = [[""] * k for _ in range(k)]
    for i, j in product(range(k), repeat=2):
        if i < j:
            found = agreement(panel.votes[:, i], panel.votes[:, j])
            assert found is not None
            assert found.correlation is not None
            cells[i][j] = f"{100 * found.raw.value:.0f}"
            cells[j][i] = f"{found.correlation.value:.2f}"
    mean = panel_agreement(panel.votes)
    assert mean is not None
    rows = [[model, *row] for model, row in zip(MODELS, cells, strict=True)]
    return f"{_table(['', *MODELS], rows)}\n\nMean agreement of two judges: {_percent(mean)} %."


def effective(verdicts: Verdicts) -> str:
    """Effective votes of panels of models, and of one model asked in several ways."""
    named: dict[str, Panel] = {f"six models, {one}": _asked(verdicts, one) for one in STRATEGIES}
    named["GPT-4, PaLM2 and Falcon, Vanilla"] = _asked(verdicts, "Vanilla", MODELS[:3])
    for model in ("GPT-4", "ChatGPT"):
        judges = [j for j in verdicts.original if j[0] == model and not j[1].startswith("Rating")]
        named[f"{model} asked in {len(judges)} ways"] = Panel(verdicts, judges, MANY)
    rows = []
    for what, panel in named.items():
        of_votes = effective_votes(panel.votes)
        of_errors = effective_votes(panel.votes, gold=panel.gold)
        sizes = str(len(panel.judges)), str(len(panel.gold))
        both = _plain(of_votes.votes), _plain(of_errors.votes)
        rows.append([what, *sizes, *both, f"{of_errors.correlation:.2f}"])
    head = ["panel", "judges", "n", "by votes", "by mistakes", "mean correlation of mistakes"]
    return _table(head, rows)


def pools(verdicts: Verdicts) -> str:
    """Agreement, bias and variance by AlpacaEval's rule, of judges, pools and coins."""
    asked = np.isin(verdicts.subset, MANY)
    gold = verdicts.gold[asked]

    def shares(judges: Sequence[Judge]) -> Floats:
        both = [order[list(judges)] for order in (verdicts.original, verdicts.swapped)]
        return label_shares(pd.concat(both, axis=1).to_numpy()[asked])

    named: dict[str, list[list[Judge]]] = {
        "GPT-4, Vanilla": [[("GPT-4", "Vanilla")]],
        "GPT-4, ten ways of asking": [_ways(verdicts)["GPT-4"]],
        "six models, Vanilla": [[(model, "Vanilla") for model in MODELS]],
        **_drawn_pools(verdicts),
    }
    rows = []
    for what, drawn in named.items():
        of = [shares(pool) for pool in drawn]
        for p in (0.0, 0.25):
            noisy = [with_flips(one, p) for one in of]
            row = [what, f"{100 * p:.0f} %"]
            for figure in (
                [label_agreement(one, gold) for one in noisy],
                [mode_error(one, gold) for one in noisy],
                [disagreement(one) for one in noisy],
            ):
                row.append(_percent(mean_interval(np.clip(np.mean(figure, axis=0), 0, 1))))
            spread = np.percentile([disagreement(one).mean() for one in noisy], [2.5, 97.5])
            row.append("" if len(of) == 1 else f"{100 * spread[0]:.1f} to {100 * spread[1]:.1f}")
            rows.append(row)
    head = ["one label an item from", "flips", "agreement", "bias", "variance", "of 95 % of pools"]
    return _table(head, rows)


def _drawn_pools(verdicts: Verdicts) -> Mapping[str, list[list[Judge]]]:
    """Pools of 13 members, the ways of asking drawn at random for each pool."""
    ways = _ways(verdicts)
    mixes = {
        "5 GPT-4, 4 ChatGPT, 4 Falcon": {"GPT-4": 5, "ChatGPT": 4, "Falcon": 4},
        "5 GPT-4, 4 ChatGPT, 4 PaLM2": {"GPT-4": 5, "ChatGPT": 4, "PaLM2": 4},
        "9 GPT-4, 4 PaLM2": {"GPT-4": 9, "PaLM2": 4},
    }
    found = {}
    for what, mix in mixes.items():
        rng = np.random.default_rng(0)
        found[what] = [
            [
                ways[model][n]
                for model, members in mix.items()
                for n in rng.choice(len(ways[model]), members, replace=False)
            ]
            for _ in range(N_POOLS)
        ]
    return found


def _ways(verdicts: Verdicts) -> dict[str, list[Judge]]:
    """Model → its judges that compare two answers; those that rate one alone see no order."""
    return {
        model: [j for j in verdicts.original if j[0] == model and not j[1].startswith("Rating")]
        for model in MODELS
    }


def _asked(verdicts: Verdicts, strategy: str, models: Sequence[str] = MODELS) -> Panel:
    subsets = set(verdicts.subset) - set(LEFT_OUT)
    return Panel(verdicts, [(model, strategy) for model in models], subsets)


# ------------------------------------------------------------------------------------------ the page
TABLES = {
    "singles": singles,
    "panels": panels,
    "subsets": panels_by_subset,
    "between": between,
    "effective": effective,
    "pools": pools,
}


def written(page: str, verdicts: Verdicts) -> str:
    """The page with every table between its markers made anew; raises ValueError without markers."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page needs {begin} and {end}, once each")
        block = f"{begin}\n\n{make(verdicts)}\n\n{end}"
        page = re.sub(f"{begin}.*{end}", lambda _, block=block: block, page, flags=re.DOTALL)
    return page


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _percent(found: Interval) -> str:
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _signed(found: Interval) -> str:
    low, high = f"{100 * found.low:+.1f}", f"{100 * found.high:+.1f}"
    return f"{100 * found.value:+.1f} [{low}, {high}]"


def _plain(found: Interval | None) -> str:
    return "" if found is None else f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def main() -> None:
    """Replay the verdicts, make the tables, and write or compare the page."""
    root = Path(__file__).parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=root.parent / "shared" / "data" / "human")
    parser.add_argument("--page", type=Path, default=root / "docs" / "panels.md")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    args = parser.parse_args()
    if not (args.data / "llmbar_verdicts.parquet").is_file():
        sys.exit(f"{args.data} holds no llmbar_verdicts.parquet: name its folder with --data")
    with tempfile.TemporaryDirectory() as scratch:
        verdicts = llmbar.load(args.data, Path(scratch))
    page = args.page.read_text(encoding="utf-8")
    made = written(page, verdicts)
    if args.check:
        sys.exit(None if made == page else f"{args.page} is not what the verdicts give")
    args.page.write_text(made, encoding="utf-8")
    print(f"wrote the tables of {args.page}")


if __name__ == "__main__":
    main()
