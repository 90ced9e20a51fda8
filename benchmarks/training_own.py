"""One run of a trainer of ours under the stopwatch; a program of its own for `training.py`.

python training_own.py MEASURED.json METHOD --model-name-or-path …
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from training_clock import Clock

from train_baselines.runtime.run import Run


def main() -> None:
    """Train, and write what was measured."""
    out, method, *flags = sys.argv[1:]
    clock = Clock()
    Run.once = clock.wrapped(Run.once)  # type: ignore[method-assign]
    tokens: list[int] = []
    steps = Run.steps

    def counted(run, rows):  # type: ignore[no-untyped-def]
        tokens.append(sum(row.n_tokens for row in rows))
        return steps(run, rows)

    Run.steps = counted  # type: ignore[method-assign]
    if code := importlib.import_module(f"train_baselines.{method}").main(flags):
        sys.exit(code)
    clock.write(Path(out), tokens[0])


if __name__ == "__main__":
    main()
