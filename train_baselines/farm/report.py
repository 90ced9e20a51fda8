"""What the farm's trainings say beyond their rows: `python -m train_baselines.farm.report results/farm`.

Of every seed whose logs lie in BOARD/training: how far annotators agree on the policy's samples, how
the reward and the gold win rate go with n in best-of-n decoding, and how a reward model's accuracy
goes with the number of pairs and their noise. Written are BOARD/training/README.md and the figures as PNG and SVG.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import tyro
from tabulate import tabulate

from judges.errors import UserError
from judges.reading import printable
from judges.records import write_atomic

LABELS = {
    "simulators": "simulators, 25 % flipped",
    "unflipped": "simulators, none flipped",
    "people": "people",
}
"""Name of a file of preferences → whose they are."""
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The farm's trainings in figures."""

    board: Annotated[Path, tyro.conf.Positional]
    """The board's folder."""


@dataclass(frozen=True, slots=True)
class BestOf:
    """Best-of-n decoding at one n; reward in the reward model's units, rates in [0, 1]."""

    seed: str
    n: int
    reward: float
    sample_reward: float
    """The mean reward of all samples."""
    win_rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A reward model's accuracy on held-out pairs labelled by the truth, in [0, 1]."""

    seed: str
    labels: str
    n: int
    accuracy: float


def best_of_n(board: Path) -> list[BestOf]:
    """Every n of every seed that has a row."""
    found = []
    for path in sorted(board.glob("training/best_of_n-*/train_config.json")):
        seed = path.parent.name.removeprefix("best_of_n-")
        for name, figures in _read(path)["facts"].items():
            n = name.removeprefix("best of ")
            row = board / f"best_of_{n}-{seed}" / "summary.json"
            if name != n and row.is_file():
                rate = _read(row)["win_rate"]
                rewards = figures["score"], figures["mean_score"]
                interval = rate["value"], rate["low"], rate["high"]
                found.append(BestOf(seed, int(n), *rewards, *interval))
    return sorted(found, key=lambda one: (one.seed, one.n))


def accuracies(board: Path) -> list[Accuracy]:
    """Every reward model of every seed, by whose labels and how many pairs."""
    found = []
    for path in board.glob("training/reward_models-*/*.json"):
        labels, _, n = path.stem.rpartition("-")
        seed = path.parent.name.removeprefix("reward_models-")
        accuracy = _read(path)["facts"]["eval_accuracy"]
        found.append(Accuracy(seed, LABELS.get(labels, labels), int(n), accuracy))
    order = [*LABELS.values()]
    return sorted(
        found, key=lambda a: (order.index(a.labels) if a.labels in order else 99, a.n, a.seed)
    )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None


# ------------------------------------------------------------------------------------------- words
def describe(
    agreements: Mapping[str, str], curve: Sequence[BestOf], models: Sequence[Accuracy]
) -> str:
    """README.md of the folder; `agreements` has the words of each seed."""
    parts = ["# The farm's trainings", "Written by `python -m train_baselines.farm.report`."]
    if agreements:
        parts += [
            "## How far annotators agree",
            "On pairs of distinct samples of the SFT model.",
            *(f"Seed {seed}:\n\n```\n{said}```" for seed, said in agreements.items()),
        ]
    if curve:
        parts += [
            "## Best of n: the reward, and what it is worth",
            "The reward is the reward model's own, which does the choosing; the win rate is by the "
            "farm's truth, against the board's reference. Where the reward rises and the win rate "
            "does not, the reward model is being exploited.",
            "![Reward and gold win rate over n](best_of_n.svg)",
            tabulate(
                [
                    (c.seed, c.n, f"{c.reward:.3f}", _percent(c.win_rate),
                     f"{_percent(c.low)} to {_percent(c.high)}")
                    for c in curve
                ],
                ("seed", "n", "reward", "gold win rate %", "95 % interval"),
                tablefmt="github", disable_numparse=True,
            ),
        ]  # fmt: skip
    if models:
        parts += [
            "## Reward models: pairs and noise",
            "The accuracy on pairs of the validation prompts, labelled by the farm's truth, ties "
            "left out. All are trained once over their pairs, from the SFT weights.",
            "![Accuracy over pairs](reward_models.svg)",
            _accuracy_table(models),
        ]
    return "\n\n".join(parts) + "\n"


def _accuracy_table(models: Sequence[Accuracy]) -> str:
    sizes = sorted({one.n for one in models})
    rows = []
    for (labels, seed), of in _grouped(models, lambda one: (one.labels, one.seed)).items():
        known = {one.n: _percent(one.accuracy) for one in of}
        rows.append((labels, seed, *(known.get(n, "") for n in sizes)))
    headers = ("labels", "seed", *(f"{n:,} pairs" for n in sizes))
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> Mapping[Any, list[Any]]:
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


# ----------------------------------------------------------------------------------------- figures
def draw_best_of_n(curve: Sequence[BestOf], figure: Any) -> None:
    """Reward above, gold win rate below, over n."""
    above, below = figure.subplots(2, 1, sharex=True)
    for colour, (seed, of) in zip(
        _COLOURS, _grouped(curve, lambda c: c.seed).items(), strict=False
    ):
        n, rate = [c.n for c in of], [100 * c.win_rate for c in of]
        above.plot(n, [c.reward for c in of], "o-", color=colour, label=f"seed {seed}")
        error = [
            [100 * (c.win_rate - c.low) for c in of],
            [100 * (c.high - c.win_rate) for c in of],
        ]
        below.errorbar(n, rate, error, fmt="o-", color=colour, capsize=3)
    below.axhline(50, color="#999999", linewidth=1, linestyle=":")
    below.set_xscale("log", base=2)
    below.set_xticks(sorted({c.n for c in curve}), [str(n) for n in sorted({c.n for c in curve})])
    below.set_xlabel("n, samples to choose from")
    below.set_ylabel("gold win rate, %")
    above.set_ylabel("reward of the chosen")
    above.legend(frameon=False)


def draw_accuracies(models: Sequence[Accuracy], figure: Any) -> None:
    """The mean accuracy over the seeds, and each seed as a point."""
    axis = figure.subplots()
    for colour, (labels, of) in zip(
        _COLOURS, _grouped(models, lambda m: m.labels).items(), strict=False
    ):
        means = {
            n: 100 * fmean(m.accuracy for m in at) for n, at in _grouped(of, lambda m: m.n).items()
        }
        axis.plot([*means], [*means.values()], "-", color=colour, label=labels)
        axis.plot([m.n for m in of], [100 * m.accuracy for m in of], "o", color=colour)
    sizes = sorted({m.n for m in models})
    axis.set_xscale("log")
    axis.set_xticks(sizes, [f"{n:,}" for n in sizes])
    axis.minorticks_off()
    axis.set_xlabel("pairs to train on")
    axis.set_ylabel("accuracy by the truth, %")
    axis.legend(frameon=False)


def _draw(path: Path, size: tuple[float, float], plot: Callable[[Any], None]) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "farm", "font.size": 10}):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        plot(figure)
        figure.savefig(path.with_suffix(".png"), dpi=150)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def write_report(board: Path) -> Path:
    """Write the page and its figures; raises UserError for a board without any such training."""
    curve, models = best_of_n(board), accuracies(board)
    agreements = {
        path.stem.removeprefix("agreement-"): path.read_text("utf-8")
        for path in sorted(board.glob("training/agreement-*.txt"))
    }
    if not (agreements or curve or models):
        raise UserError(f"{board}/training: there are no logs; `make baselines` writes them")
    folder = board / "training"
    if curve:
        _draw(folder / "best_of_n", (6, 6), lambda figure: draw_best_of_n(curve, figure))
    if models:
        _draw(folder / "reward_models", (6, 4), lambda figure: draw_accuracies(models, figure))
    path = folder / "README.md"
    write_atomic(path, describe(agreements, curve, models))
    return path


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    try:
        given = tyro.cli(Arguments, args=args, prog="python -m train_baselines.farm.report")
        print(write_report(given.board))
    except UserError as error:
        print(printable(str(error)), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
