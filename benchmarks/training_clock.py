"""A stopwatch that reads both sides alike: torch itself tells it of every optimiser step."""

from __future__ import annotations

import functools
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook


class Moment(NamedTuple):
    """Seconds on the wall, and of the CPU's time in this process and its threads."""

    wall: float
    cpu: float


class Clock:
    """When each optimiser step of this process was done, and what went before the first."""

    def __init__(self) -> None:
        self._steps: list[Moment] = []
        self._before = Moment(0, 0)
        register_optimizer_step_post_hook(lambda *_: self._steps.append(now()))

    def wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed: what has to be done once before the steps."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = now()
            found = function(*args, **kwargs)
            end = now()
            self._before = Moment(
                self._before.wall + end.wall - begin.wall, self._before.cpu + end.cpu - begin.cpu
            )
            return found

        return timed

    def write(self, path: Path, tokens: int) -> None:
        """Writes the seconds of all steps at the pace of those behind the first, which is the
        warm-up, with what went before; peak memory in bytes; and the tokens that the trainer made of
        its data, without padding."""
        first, *_, last = self._steps
        scale = len(self._steps) / (len(self._steps) - 1)
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated()
        else:
            who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
            peak = 1024 * max(resource.getrusage(one).ru_maxrss for one in who)
        measured = {
            "steps": len(self._steps),
            "wall": self._before.wall + scale * (last.wall - first.wall),
            "cpu": self._before.cpu + scale * (last.cpu - first.cpu),
            "peak": peak,
            "tokens": tokens,
        }
        path.write_text(json.dumps(measured))


def now() -> Moment:
    """This moment, once the device has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Moment(time.perf_counter(), time.process_time())
