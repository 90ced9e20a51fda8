"""How often the interval of a method over its training seeds covers the method's own win rate.

    python benchmarks/training_seeds.py --rounds 1000

Instructions are easy or hard, a seed makes each of them easier or harder, and a verdict is 0 or 1
("binary") or a preference in between ("soft"). Beside `seed_group` stands what a plain two-way
bootstrap with the normal quantile would give, of its exact variance.
"""

from __future__ import annotations

import argparse

import numpy as np

from leaderboard.statistics.training_seeds import seed_group


def preferences(
    rng: np.random.Generator, kind: str, mean: float, seed_sd: float, seeds: int, n: int
) -> np.ndarray:
    """Preferences, (seeds, n), of a method with this win rate and standard deviation of seeds."""
    p = rng.beta(4 * mean, 4 * (1 - mean), n)
    reach = 4 * mean * (1 - mean) * 4 / 5  # the mean of 4p(1 - p), by which a seed moves p
    effects = rng.normal(0, seed_sd / reach, (seeds, 1)).clip(-0.25, 0.25)
    chance = p + effects * 4 * p * (1 - p)
    if kind == "binary":
        return (rng.random((seeds, n)) < chance).astype(float)
    return rng.beta(4 * chance + 1e-9, 4 * (1 - chance) + 1e-9)


def plain_covers(table: np.ndarray, truth: float) -> bool:
    """Whether a two-way bootstrap as it is would cover: each part of its variance is that of the
    resampled means of rows, of columns, and of what is left."""
    seeds, n = table.shape
    mean, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    left = table - rows[:, None] - columns + mean
    variance = rows.var() / seeds + columns.var() / n + left.var() / (seeds * n)
    return bool(abs(mean - truth) <= 1.959964 * np.sqrt(variance))


def main() -> None:
    """One line a kind of method, number of seeds, number of instructions and spread of seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000, help="simulated methods a line")
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(11)
    print("kind    mean  seeds     n  seed SD  covers  half-width  plain covers")
    for kind, mean in (("binary", 0.5), ("soft", 0.5)):
        for seeds in (2, 3, 5, 10):
            for n in (50, 120, 805):
                for seed_sd in (0.0, 0.01, 0.03):
                    drawn = [preferences(rng, kind, mean, seed_sd, seeds, n) for _ in range(rounds)]
                    groups = [
                        seed_group(table, n_rounds=200, seed=k) for k, table in enumerate(drawn)
                    ]
                    covers = np.mean([g.low <= mean <= g.high for g in groups])
                    half = np.mean([(g.high - g.low) / 2 for g in groups])
                    plain = np.mean([plain_covers(table, mean) for table in drawn])
                    print(
                        f"{kind:<6}  {mean:.1f}   {seeds:5}  {n:4}  {100 * seed_sd:7.1f}  "
                        f"{100 * covers:6.1f}  {100 * half:10.1f}  {100 * plain:12.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
