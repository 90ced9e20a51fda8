"""The simulations of agreement: what they call the truth is what ever more items come to."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from leaderboard.statistics.agreement import against_humans
from leaderboard.statistics.alpha import alpha
from leaderboard.statistics.class_tables import paired_tables
from leaderboard.statistics.kappa import kappa

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def simulated() -> ModuleType:
    pytest.importorskip("sklearn")
    sys.path.append(str(BENCHMARKS))
    import coverage_agreement

    return coverage_agreement


@pytest.mark.parametrize("data", ["balanced", "two skewed classes"])
def test_the_truth_of_kappa_and_alpha(simulated, data):
    labels = simulated.words(np.random.default_rng(0), data, 0.8, (20_000, 3))
    tables = paired_tables(labels[:, 0], labels[:, 1])
    for weights, metric in (("none", "nominal"), ("quadratic", "interval")):
        truth = simulated.chance_corrected(data, 0.8, simulated.WEIGHTS[weights])
        for found in (kappa(tables, weights), alpha(labels, metric)):
            assert found.value == pytest.approx(truth, abs=0.03)
            assert found.high - found.low < 0.08


def test_the_truth_of_agreement(simulated):
    statistic = simulated.STATISTICS[0]
    rng = np.random.default_rng(1)
    outcome = statistic.draw(rng, "balanced", 0.8, 4000, 40)
    held, widths = outcome["ours"]
    assert held.mean() > 0.85
    assert widths.max() < 3
    # Four labels an item are no four items.
    assert outcome["as if labels were independent"][1].max() < 0.8 * widths.min()
    labels = simulated.words(rng, "balanced", 0.8, (2000, 4))
    found = against_humans(np.full(2000, np.nan), labels)
    assert found.n_used == 0


@pytest.mark.parametrize(
    ("name", "data"),
    [("kappa", "two skewed classes"), ("kappa", "skewed, quadratic"), ("alpha", "skewed")],
)
def test_small_samples_with_a_rare_class_cover(simulated, name, data):
    (statistic,) = (one for one in simulated.STATISTICS if one.name == name)
    found = statistic.draw(np.random.default_rng(2), data, 0.4, 50, 200)
    held, _ = found["ours"]
    assert held.mean() > 0.93
    # The bootstrap cannot draw what is not in the sample.
    assert found["bootstrap"][0].mean() < 0.9
