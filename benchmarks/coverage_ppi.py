"""What `coverage.py` simulates of win rates from human labels and a judge: PPI++, Rogan–Gladen.

    python benchmarks/coverage_ppi.py [--reps 4000] [--seed 0]

prints the width of the PPI++ interval beside that of the labels alone and beside theory. Here n is
the number of labelled instructions, a tenth of all unless the data say otherwise.
"""

from __future__ import annotations

import argparse

import numpy as np
from coverage_samples import Ends, Floats, Outcome, Rng, Statistic, Z, held

from leaderboard.statistics.ppi import anchored_rate, expected_ratio, rogan_gladen
from leaderboard.statistics.uncertainty import Interval

SHARE = 0.1
SQUEEZED = 0.6  # a biased judge's preferences go from 0.3 to 0.9


def people_and_judge(
    rng: Rng, data: str, rate: float, correlation: float, shape: tuple[int, int]
) -> tuple[Floats, Floats, float, float, float]:
    """Labels with the mean `rate`, the judge's preferences, which correlate with them as said, the
    standard deviation of the labels, the slope of their regression on the judge, and the
    correlation. Of a judge that errs the same way on both sides it says how often it is right."""
    if data == "erring":
        right = correlation
        people = (rng.random(shape) < rate).astype(float)
        judge = np.where(rng.random(shape) < right, people, 1 - people)
        says = rate * right + (1 - rate) * (1 - right)
        covariance = rate * right - rate * says
        deviation = float(np.sqrt(rate * (1 - rate)))
        slope = covariance / (says * (1 - says))
        return (
            people,
            judge,
            deviation,
            slope,
            slope * float(np.sqrt(says * (1 - says))) / deviation,
        )
    if data in ("hard", "biased", "ties"):
        ties = 1.2 * rate * (data == "ties")  # 60 % at a rate of 0.5

        def drawn() -> Floats:
            u = rng.random(shape)
            return np.where(u < ties, 0.5, (u < rate + ties / 2).astype(float))

        people, others = drawn(), drawn()
        judge = np.where(rng.random(shape) < correlation, people, others)
        deviation = float(np.sqrt(rate - ties / 4 - rate**2))
        if data == "biased":
            return people, 0.3 + SQUEEZED * judge, deviation, correlation / SQUEEZED, correlation
        return people, judge, deviation, correlation, correlation
    # The judge knows the chance of a verdict, of which people give one or two.
    annotators = {"soft judge": 1, "two annotators": 2}[data]
    concentration = annotators * (1 / correlation**2 - 1)
    judge = rng.beta(rate * concentration, (1 - rate) * concentration, shape)
    people = np.mean([rng.random(shape) < judge for _ in range(annotators)], axis=0)
    deviation = float(np.sqrt(rate * (1 - rate) / (concentration + 1))) / correlation
    return people, judge, deviation, 1.0, correlation


def ends(intervals: list[Interval]) -> Ends:
    """The ends of many intervals."""
    return np.array([one.low for one in intervals]), np.array([one.high for one in intervals])


def prediction_powered(rng: Rng, data: str, rate: float, n: int, reps: int) -> dict[str, Outcome]:
    """PPI++ beside the labels alone, and the normal interval of who knows all moments."""
    name, said, *share = data.split(", ")
    n_items = round(n / (0.5 if share else SHARE))
    shape = (reps, n_items)
    people, judge, deviation, slope, correlation = people_and_judge(
        rng, name, rate, float(said), shape
    )
    labels = people.copy()
    labels[:, n:] = np.nan  # all are drawn independently, so that any n are a random sample
    found = [anchored_rate(*both) for both in zip(labels, judge, strict=True)]
    shift = slope * (1 - n / n_items) * (judge[:, n:].mean(axis=1) - judge[:, :n].mean(axis=1))
    best = people[:, :n].mean(axis=1) + shift
    half = Z * deviation / np.sqrt(n) * expected_ratio(correlation, n, n_items)
    return {
        "ours": held(ends([one.rate for one in found]), rate),
        "labels alone": held(ends([one.labels_only for one in found]), rate),
        "theory": held((best - half, best + half), rate),
    }


def corrected(rng: Rng, data: str, rate: float, n: int, reps: int) -> dict[str, Outcome]:
    """Rogan and Gladen's rate with Lang and Reiczigel's interval, beside the labels alone and the
    delta method without their adjustment. Where it is not defined, the interval is 0 to 1."""
    sensitivity, specificity = (float(number) for number in data.split(" / "))
    n_items = round(n / SHARE)
    people = (rng.random((reps, n_items)) < rate).astype(float)
    says = rng.random((reps, n_items)) < np.where(people == 1, sensitivity, 1 - specificity)
    labels, judge = people.copy(), says.astype(float)
    labels[:, n:] = np.nan
    ours, delta = np.tile([0.0, 1.0], (reps, 1)), np.tile([0.0, 1.0], (reps, 1))
    for rep in range(reps):
        found = rogan_gladen(labels[rep], judge[rep])
        if found is None:
            continue
        ours[rep] = found.low, found.high
        p, se, sp = judge[rep, n:].mean(), found.sensitivity, found.specificity
        error = p * (1 - p) / (n_items - n) + found.value**2 * se * (1 - se) / found.n_wins
        error += (1 - found.value) ** 2 * sp * (1 - sp) / found.n_losses
        half = Z * np.sqrt(error) / (se + sp - 1)
        delta[rep] = max(found.value - half, 0), min(found.value + half, 1)
    alone = [anchored_rate(row[:n], np.full(n, np.nan)).rate for row in labels]
    return {
        "ours": held((ours[:, 0], ours[:, 1]), rate),
        "labels alone": held(ends(alone), rate),
        "delta method": held((delta[:, 0], delta[:, 1]), rate),
    }


STATISTICS = (
    Statistic(
        "ppi",
        "the human win rate over all instructions, n of which are labelled; data, correlation",
        [
            *(
                (f"{data}, 0.8", rate)
                for data in ("hard", "biased", "soft judge", "two annotators", "ties")
                for rate in (0.5, 0.2, 0.05)
            ),
            *((f"hard, {rho}", 0.5) for rho in (0, 0.4, 0.95)),
            ("hard, 0.8, half labelled", 0.5),
        ],
        prediction_powered,
        sizes=(30, 50, 80, 200),
    ),
    Statistic(
        "ppi-erring",
        "the same with a hard judge that is right in this share of wins and of losses alike",
        [
            (f"erring, {right}", rate)
            for right in (0.95, 0.9, 0.8)
            for rate in (0.93, 0.9, 0.8, 0.5)
        ],
        prediction_powered,
        sizes=(40, 80, 200),
    ),
    Statistic(
        "rogan-gladen",
        "the same from a judge's sensitivity / specificity",
        [(data, r) for data in ("0.95 / 0.9", "0.8 / 0.7") for r in (0.5, 0.2)],
        corrected,
        sizes=(30, 50, 80, 200),
    ),
)


def main() -> None:
    """Print how wide the intervals are beside those of the labels alone, and beside theory.

    The rate is another one in every repetition, from 0.375 to 0.625: at a single one, intervals of
    zeros and ones cover in steps.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("| correlation | labels of instructions | width | theory | coverage | labels alone |")
    print("| --- | --- | --- | --- | --- | --- |")
    for correlation in (0.4, 0.6, 0.8, 0.95):
        for n, n_items in ((30, 300), (50, 500), (80, 800), (200, 2000), (200, 400)):
            rng = np.random.default_rng([args.seed, n, n_items])
            rate = rng.uniform(0.375, 0.625, args.reps)
            people = (rng.random((args.reps, n_items)) < rate[:, None]).astype(float)
            others = (rng.random((args.reps, n_items)) < rate[:, None]).astype(float)
            judge = np.where(rng.random((args.reps, n_items)) < correlation, people, others)
            people[:, n:] = np.nan
            found = [anchored_rate(*both) for both in zip(people, judge, strict=True)]
            inside, width = held(ends([one.rate for one in found]), rate)
            alone, whole = held(ends([one.labels_only for one in found]), rate)
            print(
                f"| {correlation} | {n} of {n_items} | {width.mean() / whole.mean():.3f} "
                f"| {expected_ratio(correlation, n, n_items):.3f} "
                f"| {100 * inside.mean():.1f} | {100 * alone.mean():.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
