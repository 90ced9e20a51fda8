"""What it costs `lc_joint` that a constant answer must not gain, in the simulated world of its tests.

    python benchmarks/constant_control.py [--worlds 12]

For each number of instructions and weight of the constant control, in points, means over worlds:
how far the figures of 12 models are from the truth, their rank correlation with it, and what the
control gains from length control. "chosen" is the weight that a calibration chooses.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import expit
from scipy.stats import spearmanr

from leaderboard.statistics.lc_joint import lc_joint

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from test_lc_joint import World, null_control


def main() -> None:
    """One line a number of instructions and weight."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=12)
    worlds = parser.parse_args().worlds
    print("| n | weight | off the truth | rank correlation | gain of the constant answer |")
    print("| --- | --- | --- | --- | --- |")
    for n in (50, 224, 805):
        found: dict[str, list[tuple[float, float, float]]] = {}
        for seed in range(worlds):
            world = World(n, seed=seed)
            null = null_control(world)
            cut = world.control("truncated", factor=1 / 3, wins=0.05)
            calibration = world.calibration([world.control("padded", extra=300.0), cut, null])
            truth = np.array([expit(q + world.difficulty).mean() for q in world.quality])
            raw = world.preferences.mean(axis=1)
            off = 100 * float(np.abs(raw - truth).mean())
            found.setdefault("(plain win rate)", []).append((off, spearmanr(raw, truth)[0], 0.0))
            for name, weight in (("0.1", 0.1), ("chosen", calibration.constant_weight)):
                at = replace(calibration, constant_weight=weight)
                rows = zip(world.preferences, world.mediators, strict=True)
                values = np.array([lc_joint(p, m, at).value for p, m in rows])
                gain = 100 * lc_joint(null.preference, null.mediators, at).gain
                off = 100 * float(np.abs(values - truth).mean())
                found.setdefault(name, []).append((off, spearmanr(values, truth)[0], gain))
        for name, rows_of in found.items():
            off, rank, gain = np.mean(rows_of, axis=0)
            print(f"| {n} | {name} | {off:.1f} | {rank:.3f} | {gain:.1f} |")


if __name__ == "__main__":
    main()
