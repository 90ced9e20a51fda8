"""The length-controlled win rate of AlpacaEval's recipe: `lc_alpaca_eval` beside the package's own.

    python benchmarks/length_control.py [--data ../shared/data] [--runs 5]

Both run in one process, in turn, under the Python and the libraries of alpaca_eval's environment
(build/peers, see cli.py): every model with all 805 verdicts, `--runs` times each. "The call" is
from a frame of answers, verdicts and the file of gamed verdicts to the figure; "the fit" is the
part of it that cross-validates and fits. The package would download the gamed verdicts, so it is
pointed at a file of them here. Then both as whole processes, imports included.

    python benchmarks/length_control.py --part intervals [--draws 300]

How well the standard error and the interval do: the verdicts on a model's instructions serve as the
population, from which instructions are drawn with replacement.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from cli import PEER
from paired import Command, compare, peer

if TYPE_CHECKING:
    from leaderboard.statistics.length_control import LengthControlled

ROOT = Path(__file__).parent.parent
INTERVALS_OF = ("FuseChat-Llama-3.1-8B-Instruct", "OpenHermes-2.5-Mistral-7B", "pythia-12b-mix-sft")
GAMED = Path("build") / "benchmark-length-control" / "gamed.csv"


def write_gamed(data: Path) -> None:
    """The gamed verdicts as the file that the package downloads."""
    rows = pd.read_csv(data / "gamed_references.csv")
    difficulty = pd.read_csv(data / "instruction_difficulty.csv")["instruction_difficulty"]
    difference = rows["len_reference"] - rows["len_model"]
    GAMED.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(
        {
            "model": rows["model"],
            "index": rows["instruction_index"],
            "preference": rows["preference"] - 1,
            "std_delta_len": difference / difference.groupby(rows["model"]).transform("std"),
            "instruction_difficulty": difficulty[rows["instruction_index"]].to_numpy(),
            "not_gamed_baseline": False,
        }
    ).to_csv(GAMED, index=False)


def frames(data: Path) -> dict[str, pd.DataFrame]:
    """What the package takes, by model; answers are of the right length, which is all that counts."""
    verdicts = pd.read_parquet(data / "annotations.parquet")
    complete = {}
    for model, of in verdicts.groupby("model"):
        if len(of) == 805 and not (of["preference"] == 1.5).all():  # the reference is not fitted
            complete[str(model)] = pd.DataFrame(
                {
                    "preference": of["preference"].to_numpy(),
                    "output_1": ["x" * n for n in of["len_reference"]],
                    "output_2": ["x" * n for n in of["len_model"]],
                    "generator_1": "reference",
                    "generator_2": model,
                    "annotator": "judge",
                }
            )
    return complete


class Clock:
    """Wall and CPU seconds spent in the functions that it is put around."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            result = function(*args, **kwargs)
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu
            return result

        return timed


def ours(fit: Clock) -> Callable[[pd.DataFrame], float]:
    """Our figure from a frame, in percent."""
    from leaderboard.statistics import length_control as module

    module.choose_strength = fit.around(module.choose_strength)
    module.fit_liblinear = fit.around(module.fit_liblinear)

    def figure(frame: pd.DataFrame) -> float:
        gamed = pd.read_csv(GAMED)
        difficulty = gamed.drop_duplicates("index")["instruction_difficulty"].to_numpy()
        rows = module.GamedRows(
            preference=gamed["preference"].to_numpy(),
            # The file has their difference only.
            len_model=-gamed["std_delta_len"].to_numpy(),
            len_reference=gamed["std_delta_len"].to_numpy() * 0,
            difficulty=gamed["instruction_difficulty"].to_numpy(),
            version=gamed["model"].to_numpy(),
            instruction=gamed["index"].to_numpy(),
        )
        return (
            100
            * module.lc_alpaca_eval(
                frame["preference"].to_numpy() - 1,
                frame["output_2"].str.len().to_numpy(),
                frame["output_1"].str.len().to_numpy(),
                difficulty,
                rows,
            ).value
        )

    return figure


def theirs(fit: Clock) -> Callable[[pd.DataFrame], float]:
    """The package's figure from a frame, in percent."""
    from alpaca_eval.metrics import glm_winrate as module

    module.hf_hub_download = lambda **_: str(GAMED)
    module.fit_LogisticRegressionCV = fit.around(module.fit_LogisticRegressionCV)

    def figure(frame: pd.DataFrame) -> float:
        found = module.get_length_controlled_winrate(
            frame, save_weights_dir=None, is_add_glm_preference_inplace=False
        )
        return float(found["length_controlled_winrate"])

    return figure


def in_turn(data: Path, runs: int) -> None:
    """Print the table of one process that runs both, pair by pair."""
    fits, calls = (Clock(), Clock()), (Clock(), Clock())
    figures = [calls[n].around(make(fits[n])) for n, make in enumerate((ours, theirs))]
    taken: dict[str, list[list[tuple[float, float]]]] = {"the fit": [], "the call": []}
    by_model: dict[str, list[float]] = {}
    furthest = 0.0
    for model, frame in frames(data).items():
        for figure in figures:
            figure(frame)  # a warm-up, not counted
        for _ in range(runs):
            for clock in (*fits, *calls):
                clock.wall = clock.cpu = 0.0
            found = [figure(frame) for figure in figures]
            furthest = max(furthest, abs(found[0] - found[1]))
            for part, clocks in (("the fit", fits), ("the call", calls)):
                taken[part].append([(clock.wall, clock.cpu) for clock in clocks])
            by_model.setdefault(model, []).append(calls[1].cpu / calls[0].cpu)
    print(f"\n{len(by_model)} models, {runs} pairs each\n")
    print("| | ours, ms | alpaca_eval, ms | ratio of wall times | ratio of CPU times |")
    print("| --- | --- | --- | --- | --- |")
    for part, pairs in taken.items():
        ms = [1000 * median(pair[n][0] for pair in pairs) for n in (0, 1)]
        wall, cpu = (median(b[k] / a[k] for a, b in pairs) for k in (0, 1))
        print(f"| {part} | {ms[0]:.1f} | {ms[1]:.1f} | {wall:.1f} | {cpu:.1f} |")
    slowest, ratio = min(((m, median(r)) for m, r in by_model.items()), key=lambda pair: pair[1])
    print(f"\nsmallest ratio of a model (CPU, the call): {ratio:.1f}, {slowest}")
    print(f"largest difference of the figures: {furthest:.3f} points", flush=True)


def intervals(data: Path, draws: int) -> None:
    """Print how the values of drawn samples spread beside what their standard errors say."""
    from leaderboard.statistics.length_control import GamedRows, lc_alpaca_eval

    difficulty = pd.read_csv(data / "instruction_difficulty.csv")["instruction_difficulty"]
    gamed = pd.read_csv(data / "gamed_references.csv").sort_values(["model", "instruction_index"])
    versions = gamed["model"].nunique()
    verdicts = pd.read_parquet(data / "annotations.parquet").sort_values("instruction_index")

    def figure(own: pd.DataFrame, at: np.ndarray, strength: float | None) -> LengthControlled:
        d = difficulty.to_numpy()[at]
        rows = gamed.iloc[(np.arange(versions)[:, None] * len(difficulty) + at).ravel()]
        controls = GamedRows(
            preference=rows["preference"].to_numpy() - 1,
            len_model=rows["len_model"].to_numpy(),
            len_reference=rows["len_reference"].to_numpy(),
            difficulty=np.tile(d, versions),
            version=rows["model"].to_numpy(),
            instruction=np.tile(np.arange(len(at)), versions),
        )
        drawn = own.iloc[at]
        return lc_alpaca_eval(
            drawn["preference"].to_numpy() - 1,
            drawn["len_model"].to_numpy(),
            drawn["len_reference"].to_numpy(),
            d,
            controls,
            strength=strength,
        )

    print(f"\n{draws} draws each; points\n")
    print(
        "| model | n | true | bias | SD, C fixed | SD | our SE | published SE | covered | by it |"
    )
    print("| --- " * 10 + "|")
    for model in INTERVALS_OF:
        own = verdicts[verdicts["model"] == model]
        everything = np.arange(len(own))
        whole, truth = (figure(own, everything, c) for c in (None, 1e4))  # the latter: no penalty
        for n in (20, 50, 100, 805):
            rng = np.random.default_rng(n)
            places = [rng.integers(0, len(own), n) for _ in range(draws)]
            fixed = np.array([figure(own, at, whole.strength).value for at in places])
            found = [figure(own, at, None) for at in places]
            values = np.array([f.value for f in found])
            published = np.array([f.published_standard_error for f in found])
            errors = np.array([f.standard_error for f in found])
            covered = np.mean([f.low <= truth.value <= f.high for f in found])
            by_published = np.mean(np.abs(values - truth.value) <= 1.96 * published)
            points = [truth.value, values.mean() - truth.value, fixed.std(), values.std()]
            points += [float(np.sqrt(np.square(e).mean())) for e in (errors, published)]
            cells = " | ".join(f"{100 * number:.2f}" for number in points)
            shares = f"{100 * covered:.0f} % | {100 * by_published:.0f} %"
            print(f"| {model} | {n} | {cells} | {shares} |", flush=True)


def main() -> None:
    """Run both comparisons and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--draws", type=int, default=300)
    parts = ["speed", "pairs", "ours", "theirs", "intervals"]
    parser.add_argument("--part", choices=parts, default="speed")
    args = parser.parse_args()
    data = args.data / "alpaca_eval_2"
    if not data.is_dir():
        sys.exit(f"{data} is not there: this benchmark needs real verdicts")
    warnings.simplefilter("ignore")  # the package's, of scikit-learn's arguments
    if args.part == "pairs":
        in_turn(data, args.runs)
    elif args.part == "intervals":
        intervals(data, args.draws)
    elif args.part in ("ours", "theirs"):
        make = ours if args.part == "ours" else theirs
        make(Clock())(next(iter(frames(data).values())))
    else:
        write_gamed(data)
        python = str(peer("alpaca_eval", PEER) / "python")
        env = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        again = [python, __file__, "--data", str(args.data), "--runs", str(args.runs), "--part"]
        subprocess.run([*again, "pairs"], check=True, env={**os.environ, **env})
        compare(
            "one model, whole process",
            Command("lc_alpaca_eval", [*again, "ours"], env=env),
            Command("alpaca_eval", [*again, "theirs"], env=env),
            args.runs,
        )


if __name__ == "__main__":
    main()
