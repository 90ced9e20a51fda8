"""The simulations behind the coverage tables: their parts are right, and they run."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.stats
from conftest import grid

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """benchmarks/coverage.py, by another name than the package that measures line coverage."""
    pytest.importorskip("sklearn")
    sys.path.append(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("coverage_benchmark", BENCHMARKS / "coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def samples(benchmark: ModuleType) -> ModuleType:
    return sys.modules["coverage_samples"]


NAMES = ["win-rate", "references", "difference", "ranks"]
NAMES += ["lc-alpaca-eval", "lc-joint", "strength", "seeds"]
NAMES += ["agreement", "kappa", "alpha"]
NAMES += ["ppi", "ppi-erring", "rogan-gladen"]
NAMES += ["spearman", "spearman-instructions", "spearman-both"]


def test_every_statistic_is_tried(benchmark: ModuleType) -> None:
    assert list(benchmark.STATISTICS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_of_each_kind_of_data(benchmark: ModuleType, name: str) -> None:
    one = benchmark.STATISTICS[name]
    for data in dict.fromkeys(data for data, _ in one.cells):
        rate = next(rate for kind, rate in one.cells if kind == data)
        results = benchmark.run_cell(one, data, rate, 50, 3, 0)
        assert results == benchmark.run_cell(one, data, rate, 50, 3, 0)
        assert results[0].method == "ours"
        assert len(results) >= 2
        for result in results:
            assert 0 <= result.coverage <= 1
            assert result.width >= 0
            assert result.reps == 3


def test_data_have_the_rate_that_they_are_said_to_have(samples: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for data, rate in samples.STATISTICS[0].cells:
        if "±" not in data:
            drawn = samples.verdicts(rng, data, rate, 50_000, 1)
            assert drawn.mean() == pytest.approx(rate, abs=0.01)
            assert drawn.min() >= 0
            assert drawn.max() <= 1
    for data in ("independent", "correlated", "mostly ties"):
        first, second = samples.two_models(rng, data, 0.2, 0.01, (1, 200_000))
        assert (first - second).mean() == pytest.approx(0.01, abs=0.006)


def test_a_known_failure_is_found(benchmark: ModuleType) -> None:
    # No win in 20 has a chance of 0.98**20 = 0.668, and then Wald's interval has no width.
    found = benchmark.run_cell(benchmark.STATISTICS["win-rate"], "hard", 0.02, 20, 1000, 0)
    by_method = {result.method: result for result in found}
    assert by_method["Wald"].coverage == pytest.approx(1 - 0.98**20, abs=0.05)
    assert by_method["ours"].coverage > 0.9
    assert by_method["ours"].error == pytest.approx(
        (by_method["ours"].coverage * (1 - by_method["ours"].coverage) / 1000) ** 0.5
    )


@pytest.mark.parametrize("wins", [0, 3, 20])
def test_clopper_and_pearsons_interval(samples: ModuleType, wins: int) -> None:
    low, high = samples.clopper_pearson(np.array([[1.0] * wins + [0.0] * (20 - wins)]))
    expected = scipy.stats.binomtest(wins, 20).proportion_ci(method="exact")
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high))


def test_true_ranks_of_equal_models(samples: ModuleType) -> None:
    best, worst = samples.true_ranks(np.array([0.5, 0.7, 0.5, 0.1]))
    assert (best.tolist(), worst.tolist()) == ([2, 1, 2, 4], [3, 1, 3, 4])


def test_the_command_writes_reads_prints_and_plots(
    benchmark: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    small = replace(benchmark.STATISTICS["ranks"], sizes=(20, 50))
    monkeypatch.setitem(benchmark.STATISTICS, "ranks", small)
    written, picture = tmp_path / "results.json", tmp_path / "coverage.svg"
    run = ["coverage.py", "--reps", "2", "--only", "ranks", "--write", str(written)]
    monkeypatch.setattr(sys, "argv", run)
    benchmark.main()
    printed = capsys.readouterr().out
    assert [row[0] for row in grid(printed)][:2] == ["data", "equal, 5 models"]
    results = json.loads(written.read_text())
    assert results[0].keys() == asdict(benchmark.Result(**results[0])).keys()
    monkeypatch.setattr(sys, "argv", ["c", "--read", str(written), "--plot", str(picture)])
    benchmark.main()
    assert grid(capsys.readouterr().out) == grid(printed)
    assert picture.read_text().startswith("<?xml")
    monkeypatch.setattr(sys, "argv", ["c", "--reps", "0"])
    with pytest.raises(SystemExit, match="at least 1"):
        benchmark.main()
