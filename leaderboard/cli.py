"""The command line: finds the command, parses its flags, prints what the user can put right.

A command is a dataclass in `leaderboard.commands`: its fields are the flags, its `run` returns the
exit code. Only the module of the command that is called is imported.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import redirect_stderr
from importlib import import_module
from itertools import takewhile

from judges.errors import UserError
from leaderboard import __version__

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Evaluate": {
        "eval": ("leaderboard.commands.eval:Eval", "put a model, or a file of answers, on a board"),
        "show": ("leaderboard.commands.show:Show", "print a board's table"),
        "compare": ("leaderboard.commands.compare:Compare", "rows, or answers: which is better?"),
        "report": ("leaderboard.commands.report:Report", "write a board as one HTML file"),
        "cost": ("leaderboard.commands.cost:Cost", "what were models paid for?"),
    },
    "Boards": {
        "board new": ("leaderboard.commands.board:New", "make a board of your own prompts"),
        "board list": ("leaderboard.commands.board:List", "list the boards there are"),
        "board check": ("leaderboard.commands.board:Check", "check a board's files and controls"),
        "board calibrate": (
            "leaderboard.commands.board:Calibrate",
            "freeze what length control needs",
        ),
        "board import": ("leaderboard.commands.board:Import", "make a board of others' verdicts"),
        "rejudge": ("leaderboard.commands.rejudge:Rejudge", "judge a board's answers anew"),
    },
    "Judges": {
        "judges": ("leaderboard.commands.judges:Judges", "which judges are there, at what price?"),
        "annotate": (
            "leaderboard.commands.annotate:Annotate",
            "have pairs of answers judged, to train on",
        ),
        "agree": ("leaderboard.commands.agree:Agree", "can a judge stand in for people?"),
        "correlate": ("leaderboard.commands.correlate:Correlate", "are two rankings alike?"),
        "plan": ("leaderboard.commands.plan:PlanBoard", "which differences can a board show?"),
    },
}
COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}

_NO_NUMBER = re.compile(
    r"Error parsing (?P<flag>--\S+): no type matching (?P<type>INT|FLOAT) could be instantiated from "
    r"\['(?P<value>.*)'\]"
)
"""What the parser of flags says of a text where a number is needed."""
_TRY_AGAIN = "what was done is kept; the same command goes on from there"
_KEEP = {
    "eval", "compare", "board new", "board check", "board calibrate", "board import", "rejudge",
    "annotate",
}  # fmt: skip
"""Commands that keep what they have done before they end; `agree` does where it asks a panel."""
_DISK_ERRORS = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.EEXIST: "a file stands where a folder is needed",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EISDIR: "a folder stands where a file is needed",
    errno.ELOOP: "a symbolic link stands where a file is needed",
    errno.ENAMETOOLONG: "the name of a file is too long",
}


def overview() -> str:
    """The text of `leaderboard --help`."""
    lines = [
        "usage: leaderboard COMMAND …",
        "",
        "Is this model better than the others, by how much, and can the answer be believed?",
    ]
    for group, commands in GROUPS.items():
        lines += ["", f"{group}:"]
        lines += [f"  {name:<17}{summary}" for name, (_, summary) in commands.items()]
    lines += [
        "",
        "leaderboard COMMAND --help shows a command's flags. To begin with:",
        "  leaderboard eval results/starter/examples/careful.jsonl",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done; 2 the user can put it right; 3 the row is
    not publishable; 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may know ASCII only
    if threading.current_thread() is threading.main_thread():
        signal.signal(
            signal.SIGTERM, signal.default_int_handler
        )  # to be ended is to be interrupted
    args = list(sys.argv[1:] if argv is None else argv)
    words = 2 if " ".join(args[:2]) in COMMANDS else 1
    name = " ".join(args[:words])
    try:
        try:
            return _run(name, args[words:])
        finally:
            sys.stdout.flush()  # what is wrong with the pipe or the disk is to be seen here
    except UserError as error:
        from judges.reading import printable

        print(f"leaderboard {name}: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        keeps = name in _KEEP or (name == "agree" and "--panel" in " ".join(args))
        goes_on = f"; {_TRY_AGAIN}" if keeps else ""
        print(f"\nleaderboard {name}: interrupted{goes_on}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader, `head` say, has seen enough. Python would complain at exit once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        problem = _DISK_ERRORS.get(error.errno, os.strerror(error.errno))
        goes_on = f"; {_TRY_AGAIN}" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        print(f"leaderboard {name}: {problem}{where}{goes_on}", file=sys.stderr)
        return 2


def _complaint(told: str) -> str:
    """The first paragraph of what the parser of flags says in a box of several lines."""
    lines = [line.strip("╭╮╰╯│─ ") for line in told.splitlines()[1:]]
    first = " ".join(takewhile(bool, lines))
    # An option that may be left out is read as "None or a number".
    first = re.sub(r"\{None\}\||'None', |, 'None'", "", first)
    if wrong := _NO_NUMBER.search(first):
        kind = {"INT": "whole number", "FLOAT": "number"}[wrong["type"]]
        unit = " of dollars" if wrong["flag"] == "--max-cost" else ""
        return f"{wrong['flag']} {wrong['value']}: a {kind}{unit} is needed."
    return first


def _run(name: str, args: Sequence[str]) -> int:
    if name in ("", "-h", "--help", "help"):
        print(overview())
        return 0
    if name == "--version":
        print(f"herdbook {__version__}")
        return 0
    if name not in COMMANDS:
        known = [c for c in COMMANDS if c.split()[0] == name] or list(COMMANDS)
        print(f"leaderboard: no command {name!r}; known: {', '.join(known)}", file=sys.stderr)
        return 2
    # Imports make a million objects and hardly any garbage: looking for it takes a tenth of them.
    gc.disable()
    import tyro

    module, cls = COMMANDS[name][0].split(":")
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            command = tyro.cli(
                getattr(import_module(module), cls),
                args=args,
                prog=f"leaderboard {name}",
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise UserError(f"{_complaint(told.getvalue())} See: leaderboard {name} --help") from None
    gc.freeze()
    gc.enable()
    code: int = command.run()
    return code


if __name__ == "__main__":
    sys.exit(main())
