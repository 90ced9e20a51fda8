"""Do the intervals cover? Simulated boards with a known truth, ours beside other tools' intervals.

    python benchmarks/coverage.py [--reps 2000] [--seed 0] [--only win-rate ...]
                                  [--write FILE.json] [--read FILE.json ...] [--plot FILE.svg]

For each statistic, kind of data, true rate and number n of instructions, new data are drawn `reps`
times; printed is how often each method's 95 % interval held the truth, and its mean width. The
result depends on the seed and the repetitions alone, whatever else is run. --read prints and plots
what earlier runs wrote instead of running.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import coverage_agreement
import coverage_correlation
import coverage_fits
import coverage_ppi
import coverage_samples
import numpy as np
from coverage_samples import Outcome, Statistic

PARTS = (coverage_samples, coverage_fits, coverage_agreement, coverage_ppi, coverage_correlation)
STATISTICS = {one.name: one for part in PARTS for one in part.STATISTICS}
CHUNK = 500  # repetitions at once, so that the largest arrays stay small
BAND = (0.93, 0.97)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one method did in one cell; `coverage` and its Monte Carlo `error` are fractions."""

    statistic: str
    data: str
    rate: float
    n: int
    method: str
    coverage: float
    error: float
    width: float
    reps: int


def run_cell(one: Statistic, data: str, rate: float, n: int, reps: int, seed: int) -> list[Result]:
    """All methods in one cell, from random numbers of its own."""
    cell = zlib.crc32(f"{one.name}, {data}, {rate}, {n}".encode())
    found: dict[str, list[Outcome]] = {}
    for chunk, begin in enumerate(range(0, reps, CHUNK)):
        rng = np.random.default_rng([seed, cell, chunk])
        for method, outcome in one.draw(rng, data, rate, n, min(CHUNK, reps - begin)).items():
            found.setdefault(method, []).append(outcome)
    results = []
    for method, outcomes in found.items():
        inside = np.concatenate([held for held, _ in outcomes])
        width = np.concatenate([widths for _, widths in outcomes])
        share = float(inside.mean())
        results.append(
            Result(
                statistic=one.name,
                data=data,
                rate=rate,
                n=n,
                method=method,
                coverage=share,
                error=float(np.sqrt(share * (1 - share) / len(inside))),
                width=float(width.mean()),
                reps=len(inside),
            )
        )
    return results


def run(one: Statistic, reps: int, seed: int) -> list[Result]:
    """All cells of one statistic."""
    return [
        result
        for data, rate in one.cells
        for n in one.sizes
        for result in run_cell(one, data, rate, n, reps, seed)
    ]


def table(one: Statistic, results: Iterable[Result]) -> str:
    """Markdown: a row for each kind of data and rate; a star where ours is outside the target."""
    cells: dict[tuple[str, float], dict[int, list[Result]]] = {}
    for result in results:
        cells.setdefault((result.data, result.rate), {}).setdefault(result.n, []).append(result)
    methods = max((next(iter(rows.values())) for rows in cells.values()), key=len)
    names = " / ".join(result.method for result in methods)
    lines = [
        f"Coverage in % (mean width in {one.unit}): {names}.",
        "",
        "| data | rate | " + " | ".join(f"n = {n}" for n in one.sizes) + " |",
        "| --- | --- |" + " --- |" * len(one.sizes),
    ]
    for (data, rate), by_n in cells.items():
        shown = []
        for n in one.sizes:
            share = " / ".join(f"{100 * r.coverage:.1f}" for r in by_n[n])
            digits = 2 if one.unit == "log odds" else 1
            width = " / ".join(f"{r.width:.{digits}f}" for r in by_n[n])
            star = "" if is_on_target(one, by_n[n][0]) else "\\* "
            shown.append(f"{star}{share} ({width})")
        lines.append(f"| {data} | {rate:g} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def is_on_target(one: Statistic, result: Result) -> bool:
    """93 to 97 % from n = 120 on, 92 % at n = 50; simultaneous ranks at least 95 %; two Monte
    Carlo errors are allowed. n below 50 has no target."""
    if result.n < 50:
        return True
    slack = 2 * max(result.error, float(np.sqrt(0.05 * 0.95 / result.reps)))
    low, high = BAND if result.n >= 120 else (0.92, 1.0)
    if one.unit == "ranks":
        low, high = 0.95, 1.0
    return low - slack <= result.coverage <= high + slack


def plot(results: list[Result], path: Path) -> None:
    """One panel a statistic: every cell a dot, a line through the medians of each method."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "coverage"  # the same file from the same results
    from matplotlib import pyplot as plt

    names = [name for name in STATISTICS if any(r.statistic == name for r in results)]
    columns = 2 if len(names) > 1 else 1
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(6 * columns, 2.8 * rows), squeeze=False, layout="constrained"
    )
    figure.patch.set_facecolor("white")
    colours = ["#0b4f9c", "#d1495b", "#e08e0b", "#5a9367", "#7a5195"]
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    for name, axis in zip(names, axes.flat, strict=False):
        own = [r for r in results if r.statistic == name]
        sizes = sorted({r.n for r in own})
        methods = list(dict.fromkeys(r.method for r in own))
        axis.axhspan(100 * BAND[0], 100 * BAND[1], color="#cfe3cf", zorder=0)
        floor = 40.0
        for k, (method, colour) in enumerate(zip(methods, colours, strict=False)):
            shift = k - (len(methods) - 1) / 2
            medians = []
            for i, n in enumerate(sizes):
                shares = [100 * r.coverage for r in own if r.method == method and r.n == n]
                medians.append(max(float(np.median(shares)), floor))
                axis.scatter(
                    np.full(len(shares), i + 0.1 * shift),
                    np.maximum(shares, floor),
                    s=11,
                    color=colour,
                    alpha=0.55,
                    linewidths=0,
                )
            at = np.arange(len(sizes)) + 0.1 * shift
            axis.plot(at, medians, color=colour, lw=2.2 if k == 0 else 1.1, label=method)
        axis.set_xticks(range(len(sizes)), [str(n) for n in sizes])
        axis.set_ylim(floor - 1, 101)
        axis.set_yticks([40, 60, 80, 90, 95, 100])
        axis.grid(axis="y", lw=0.4, color="#bbbbbb")
        axis.set_title(name, fontsize=11, fontweight="bold", loc="left")
        axis.legend(
            fontsize=8,
            loc="lower right",
            bbox_to_anchor=(1.01, 0.98),
            ncols=4,
            frameon=False,
            columnspacing=1,
            handlelength=1.2,
        )
    figure.supxlabel("instructions", fontsize=10)
    figure.supylabel("coverage of 95 % intervals, % (40 stands for less)", fontsize=10)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)


def main() -> None:
    """Run or read, print a table a statistic, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(STATISTICS), default=list(STATISTICS))
    parser.add_argument("--write", type=Path, help="the results as JSON")
    parser.add_argument("--read", type=Path, nargs="+", help="results written before")
    parser.add_argument("--plot", type=Path, help="a picture: .svg or .png")
    args = parser.parse_args()
    if args.reps < 1:
        sys.exit("--reps must be at least 1")
    for path in args.read or []:
        if not path.is_file():
            sys.exit(f"{path} is not there: --write makes it")
    results = [Result(**row) for path in args.read or [] for row in json.loads(path.read_text())]
    for name in args.only:
        one, begin = STATISTICS[name], time.perf_counter()
        if not args.read:
            results += run(one, args.reps, args.seed)
        own = [result for result in results if result.statistic == name]
        if not own:
            continue
        spent = "" if args.read else f", {time.perf_counter() - begin:.0f} s"
        print(f"### {name}: {one.estimand} ({own[0].reps} repetitions{spent})\n", flush=True)
        print(table(one, own), end="\n\n", flush=True)
    if args.write:
        args.write.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")
    if args.plot:
        plot(results, args.plot)


if __name__ == "__main__":
    main()
