"""Bradley-Terry on a million battles: the fit, and 1,000 bootstrap rounds, beside two peers.

    python benchmarks/bradley_terry.py [--runs 3] [--rounds 1000]
    python benchmarks/bradley_terry.py --coverage 2000     # of the intervals, in simulation

1,000,000 battles of 200 models on 20,000 instructions, one in ten a tie. The peers resample
battles, so ours also runs with every battle an instruction of its own. The peers, which take an
hour for all rounds, run two small numbers of them, and the line through both is followed to all.
Every measurement is a process of its own; importing and reading the battles is not timed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd

BATTLES, MODELS, INSTRUCTIONS = 1_000_000, 200, 20_000
FILE = Path("build") / "benchmark-bradley-terry.parquet"


def make_battles() -> pd.DataFrame:
    """Battles of models of normal strengths, 50 an instruction."""
    rng = np.random.default_rng(0)
    strength = rng.normal(size=MODELS)
    first = rng.integers(MODELS, size=BATTLES)
    second = (first + rng.integers(1, MODELS, size=BATTLES)) % MODELS
    chance = 1 / (1 + np.exp(strength[first] - strength[second]))
    preference = (rng.random(BATTLES) < chance).astype(float)
    preference[rng.random(BATTLES) < 0.1] = 0.5
    names = np.array([f"model-{k:03d}" for k in range(MODELS)], dtype=object)
    return pd.DataFrame(
        {
            "instruction_id": np.arange(BATTLES) % INSTRUCTIONS,
            "model_1": names[first],
            "model_2": names[second],
            "preference": preference,
        }
    )


def ours(battles: pd.DataFrame, rounds: int) -> np.ndarray:
    """Without rounds the fit with its intervals, otherwise the rounds."""
    from leaderboard.statistics.bradley_terry import bootstrap_strengths, bradley_terry

    if rounds:
        return bootstrap_strengths(battles, rounds, 0).std(axis=0)
    return bradley_terry(battles).strength


def ours_by_battle(battles: pd.DataFrame, rounds: int) -> np.ndarray:
    """Every battle an instruction of its own, as the peers have it."""
    return ours(battles.assign(instruction_id=np.arange(len(battles))), rounds)


def evalica(battles: pd.DataFrame, rounds: int) -> np.ndarray:
    """Its own bootstrap, percentile intervals: those that it takes by default need more fits."""
    from evalica import Winner, bootstrap, bradley_terry

    sides = battles["model_1"].tolist(), battles["model_2"].tolist()
    winners = [{0.0: Winner.X, 0.5: Winner.Draw, 1.0: Winner.Y}[p] for p in battles["preference"]]
    if rounds:
        drawn = bootstrap(
            bradley_terry,
            *sides,
            winners,
            n_resamples=rounds,
            bootstrap_method="percentile",
            random_state=0,
        )
        return np.log(drawn.distribution).std().sort_index().to_numpy()
    return np.log(bradley_terry(*sides, winners).scores.sort_index()).to_numpy()


def arena_rank(battles: pd.DataFrame, rounds: int) -> np.ndarray:
    """Its own bootstrap, a process a core, or its fit with intervals from the sandwich."""
    # Forked, its workers wait for ever on the locks of JAX's threads.
    multiprocessing.set_start_method("spawn", force=True)
    from arena_rank.models.bradley_terry import BradleyTerry
    from arena_rank.utils.data_utils import PairDataset

    renamed = battles.rename(columns={"model_1": "model_a", "model_2": "model_b"})
    data = PairDataset.from_pandas(renamed, outcome_col="preference", outcome_map=lambda p: 1 - p)
    model = BradleyTerry(len(data.competitors))
    method = "bootstrap" if rounds else "sandwich"
    found = model.compute_ratings_and_cis(data, ci_method=method, num_bootstrap=rounds)
    shown = np.sqrt(found["variances"]) if rounds else found["ratings"] - model.init_rating
    return np.asarray(shown) / model.alpha


BY_BATTLE = "Herdbook, battles resampled"
TOOLS: dict[str, Callable[[pd.DataFrame, int], np.ndarray]] = {
    "Herdbook, instructions resampled": ours,
    BY_BATTLE: ours_by_battle,
    "evalica 0.4.2": evalica,
    "arena-rank 0.1.1": arena_rank,
}
PEER_ROUNDS = {"evalica 0.4.2": (1, 4), "arena-rank 0.1.1": (4, 20)}
TIMES = ("wall", "cpu")


def work(tool: str, rounds: int) -> None:
    """One measurement, printed as JSON: seconds, CPU seconds with children, peak memory."""
    battles = pd.read_parquet(FILE)
    TOOLS[tool](battles.head(3000), 0)  # imports are not timed
    begin, cpu = time.perf_counter(), cpu_seconds()
    found = TOOLS[tool](battles, rounds)
    wall = time.perf_counter() - begin
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    measured = {"wall": wall, "cpu": cpu_seconds() - cpu, "gb": peak * 1024 / 1e9}
    print(json.dumps({**measured, "found": found.tolist()}))


def cpu_seconds() -> float:
    """Of this process and of the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure(tool: str, rounds: int) -> dict[str, float]:
    """A measurement in a process of its own."""
    argv = [sys.executable, __file__, "--work", tool, "--rounds", str(rounds)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        sys.exit(f"{tool} failed:\n{ran.stderr[-3000:]}")
    measured: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return measured


def measure_rounds(tool: str, rounds: int) -> dict[str, float]:
    """A measurement of all rounds, for a peer the line through two small numbers of them."""
    if tool not in PEER_ROUNDS:
        return measure(tool, rounds)
    few, more = PEER_ROUNDS[tool]
    a, b = measure(tool, few), measure(tool, more)
    line = {key: a[key] + (b[key] - a[key]) / (more - few) * (rounds - few) for key in TIMES}
    return {**line, "gb": b["gb"]}


def show(title: str, runs: list[dict[str, dict[str, float]]]) -> None:
    """Medians, and the medians of the ratios to ours run by run, as a Markdown table."""
    print(f"\n{title} ({len(runs)} runs)\n")
    print("| | wall s | CPU s | peak GB | wall / ours | CPU / ours |")
    print("| --- | --- | --- | --- | --- | --- |")
    for tool in runs[0]:
        # The peers resample battles: the ratio is to ours with the same work.
        base = BY_BATTLE if tool in PEER_ROUNDS and BY_BATTLE in runs[0] else next(iter(TOOLS))
        cells = [f"{median(run[tool][key] for run in runs):.1f}" for key in (*TIMES, "gb")]
        ratios = [median(run[tool][key] / run[base][key] for run in runs) for key in TIMES]
        cells += [f"{ratio:.1f}" if tool in PEER_ROUNDS else "" for ratio in ratios]
        print(f"| {tool} | {' | '.join(cells)} |", flush=True)


def coverage(n: int, width: float, samples: int) -> list[str]:
    """How often intervals hold the true strength of 6 models: sandwich, bootstrap, by verdict.

    The quality of an answer is its model's strength and Gumbel noise, which makes the chance of a
    pair Bradley-Terry's exactly, and all pairs on an instruction dependent. Of the verdicts, three
    in ten are on qualities of their own.
    """
    from leaderboard.statistics.bradley_terry import bootstrap_strengths, bradley_terry

    rng = np.random.default_rng(0)
    truth = np.linspace(-width, width, 6)
    first, second = np.array([(a, b) for a in range(6) for b in range(a + 1, 6)]).T
    names = np.array([f"m{k}" for k in range(6)], dtype=object)
    hits: list[list[np.ndarray]] = [[], [], []]
    for _ in range(samples):
        shared = truth + rng.gumbel(size=(n, 1, 6))
        own = truth[[first, second]][:, None, None] + rng.gumbel(size=(2, n, 2, 15))
        is_own = rng.random((n, 2, 15)) < 0.3
        one = np.where(is_own, own[0], shared[:, :, first])
        two = np.where(is_own, own[1], shared[:, :, second])
        battles = pd.DataFrame(
            {
                "instruction_id": np.repeat(np.arange(n), 30),
                "model_1": names[np.tile(first, 2 * n)],
                "model_2": names[np.tile(second, 2 * n)],
                "preference": (two > one).ravel().astype(float),
            }
        )
        fit = bradley_terry(battles)
        by_verdict = bradley_terry(battles.assign(instruction_id=np.arange(len(battles))))
        rounds = bootstrap_strengths(battles, 200, int(rng.integers(2**31)))
        low, high = np.quantile(rounds, [0.025, 0.975], axis=0)
        true = 1000 + 400 / np.log(10) * truth
        hits[0].append((fit.low <= true) & (true <= fit.high))
        hits[1].append((low <= truth) & (truth <= high))
        hits[2].append((by_verdict.low <= true) & (true <= by_verdict.high))
    means = [100 * np.mean(hit, axis=0) for hit in hits]
    return [f"{mean.mean():.1f} ({mean.min():.1f})" for mean in means]


def show_coverage(samples: int) -> None:
    """The coverage of 95 % intervals as a Markdown table."""
    print("| instructions | strengths | sandwich | bootstrap | as if independent |")
    print("| --- | --- | --- | --- | --- |")
    for n in (20, 50, 120, 805):
        for width in (0.3, 2.5):
            cells = " | ".join(coverage(n, width, samples))
            print(f"| {n} | ±{width} | {cells} |", flush=True)


def main() -> None:
    """Measure everything in turn, `--runs` times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--coverage", type=int, metavar="SAMPLES")
    parser.add_argument("--work", choices=list(TOOLS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work is not None:
        work(args.work, args.rounds)
        return
    if args.coverage is not None:
        show_coverage(args.coverage)
        return
    FILE.parent.mkdir(parents=True, exist_ok=True)
    make_battles().to_parquet(FILE)
    fits, rounds = [], []
    for _ in range(args.runs):
        fits.append({tool: measure(tool, 0) for tool in TOOLS if tool != BY_BATTLE})
        rounds.append({tool: measure_rounds(tool, args.rounds) for tool in TOOLS})
    show("The fit, with the intervals of the sandwich but for evalica, which has none", fits)
    show(f"{args.rounds} bootstrap rounds", rounds)
    found = [np.array(fit["found"]) for fit in fits[0].values()]
    print(f"\nlargest difference of a strength: {np.ptp(found, axis=0).max():.1e}")


if __name__ == "__main__":
    main()
