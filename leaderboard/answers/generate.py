"""Gets a model's answers into a row: copied from a file, or written by the model, one by one.

Answers are bound to what made them. The manifest is written first; a later run whose model, file,
template or sampling hashes to something else is refused, and an interrupted one goes on where it
stopped. Each answer is bound to its prompt, so that a row that was copied to another board is not
taken for answers to that board's instructions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from judges.backends.base import Failure, ParameterRefused, Reply, Request, Sampling
from judges.calling.caller import BUDGET, Caller, Task
from judges.errors import UserError
from judges.records import Appender, digest, to_line, write_atomic
from judges.schema import Instruction, Message, Output
from leaderboard import __version__
from leaderboard.answers.models import UNSETTABLE, LanguageModel, refuse_to_send
from leaderboard.rows.results import Manifest, Row, StoredAnswers, answers_digest
from leaderboard.watch import Watch


def store_answers(
    row: Row,
    source: str,
    outputs: Mapping[str, Output],
    instructions: Mapping[str, Instruction],
    *,
    overwrite: bool = False,
) -> None:
    """Put answers that were made elsewhere into the row; `instructions` are the board's, by id.

    A file that holds all answers that the row has from a file, and more, goes on with the row.
    Raises UserError when the row holds other answers, unless `overwrite`.
    """
    texts = {output.instruction_id: output.text for output in outputs.values()}
    manifest = Manifest(
        source=source,
        parts={"answers": answers_digest(outputs)},
        settings={},
        herdbook=__version__,
    )
    bound = row.manifest()
    is_from_file = bound is not None and set(bound.parts) == set(manifest.parts)
    if is_from_file and all(texts.get(i) == output.text for i, output in _held(row).items()):
        row.write_manifest(manifest)
    claim(row, manifest, overwrite=overwrite)
    _write(
        row,
        (
            replace(output, generator=row.name, prompt=instructions[i].digest)
            for i, output in outputs.items()
        ),
    )


def open_requests(
    row: Row, model: LanguageModel, instructions: Sequence[Instruction], board: Sampling
) -> list[Request]:
    """What a model would be asked to answer those of the instructions that the row has no answer
    to yet."""
    held, sampling = _held(row), model.sampling(board)
    return [_request(model, i, sampling) for i in instructions if i.id not in held]


def generate_answers(
    row: Row,
    model: LanguageModel,
    instructions: Sequence[Instruction],
    sampling: Sampling,
    watch: Watch,
    *,
    overwrite: bool = False,
    caller: Caller | None = None,
    board: Path | None = None,
) -> None:
    """Have a model answer those of the instructions that the row has no answer to yet.

    Each answer is appended as soon as it is there; at the end the file is in the instructions'
    order, answers beyond them behind. What it costs is written down for the board in the folder
    `board`, by default the row's. Raises UserError when the row's answers were made by another
    model, in another way or to other prompts, unless `overwrite`; MissingAnswers where a server
    left some out.
    """
    caller = caller or Caller()
    refuse_to_send(instructions, model.spec)
    sampling = model.sampling(sampling)
    manifest = _what_answers(model, instructions[0], sampling, caller)
    for key, value in manifest.settings.items():
        if key not in ("sampling", "first_prompt"):
            watch.note(f"{key.replace('_', ' ')}: {value if value is not None else '(none)'}")
    first = _first_prompt(model, instructions[0], caller)
    watch.note("first prompt:\n" + "\n".join(f"  | {line}" for line in first.splitlines()))
    claim(row, manifest, overwrite=overwrite)
    held = _held(row)
    bound = row.manifest()
    # Where a line was lost, nothing can be told of the others.
    if bound is not None and bound.stored is not None and bound.stored.n == len(held):
        if overwrite and not bound.names(held):
            held = {}
        elif not overwrite:
            require_stored(row, held)
    if overwrite:
        for instruction_id in _to_other_prompts(held, instructions):
            del held[instruction_id]
        _write(row, held.values())
    require_own_prompts(row, held, instructions)
    left = [i for i in instructions if i.id not in held]
    if held and left:
        watch.note(f"{len(held)} answers are there already; {len(left)} are left")
    if left:
        row.write_manifest(manifest)  # which are stored is known when all have come
    asked = {i.id: i for i in left}
    requests = [_request(model, instruction, sampling) for instruction in left]
    failures: Counter[str] = Counter()
    board = row.path.parent if board is None else board
    task = Task(board.name, row.name, purpose="answers", folder=str(board.parent.resolve()))
    with Appender(row.outputs_file) as file:
        # A model in this process is not asked for what is in the cache: the row itself keeps it.
        replies = caller.complete(model.spec, requests, task, fresh=not model.spec.is_remote)
        for request, reply in watch.track(_named(replies), len(requests), "answering"):
            if isinstance(reply, Failure):
                failures[reply.reason] += 1
                continue
            output = Output(
                instruction_id=request.id,
                generator=row.name,
                text=reply.text,
                reasoning=reply.reasoning,
                finish_reason=reply.finish_reason,
                prompt=asked[request.id].digest,
                served=reply.served,
                cost_usd=reply.cost_usd if model.spec.is_remote else None,
            )
            file.append(output)
            held[request.id] = output
    place = {instruction.id: n for n, instruction in enumerate(instructions)}
    _write(row, sorted(held.values(), key=lambda o: place.get(o.instruction_id, len(place))))
    row.write_manifest(replace(manifest, stored=StoredAnswers(len(held), answers_digest(held))))
    caller.free()  # the memory is for the judges now
    if failures:
        raise MissingAnswers(failures, len(instructions))


def _named(replies: Iterator[tuple[Request, Reply]]) -> Iterator[tuple[Request, Reply]]:
    """The replies; a parameter that the server refuses is said to be the board's."""
    try:
        yield from replies
    except ParameterRefused as error:
        if error.parameter not in UNSETTABLE:
            raise
        raise UserError(
            f"{error}. board.toml sets it for all models; for this one it is left out with "
            f"--model-args unset={error.parameter}"
        ) from None


class MissingAnswers(UserError):
    """A server left answers out; those that came are stored."""

    def __init__(self, failures: Counter[str], n: int) -> None:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in failures.most_common())
        super().__init__(
            f"{failures.total()} of {n} answers are missing ({reasons}). Those that came are "
            "stored; the same command asks for the others again"
        )
        self.exit_code = 4 if BUDGET in failures else 3


def _request(model: LanguageModel, instruction: Instruction, sampling: Sampling) -> Request:
    return Request(
        id=instruction.id,
        messages=_messages(model, instruction),
        sampling=sampling,
        extra=model.extra if model.spec.is_remote else {},
    )


def _messages(model: LanguageModel, instruction: Instruction) -> tuple[Message, ...]:
    """A model in this process has its system prompt in its template."""
    is_remote = model.spec.is_remote
    return model.messages(instruction.messages) if is_remote else instruction.messages


def _first_prompt(model: LanguageModel, instruction: Instruction, caller: Caller) -> str:
    if not model.spec.is_remote:
        return caller.local(model.spec).render(instruction.messages)
    return "\n\n".join(f"{t.role}:\n{t.content}" for t in _messages(model, instruction))


def _what_answers(
    model: LanguageModel,
    instruction: Instruction,
    sampling: Sampling,
    caller: Caller,
) -> Manifest:
    """What the row's answers are bound to. Where a model is served is no part of it: a server may
    move to another port between two runs."""
    first = _first_prompt(model, instruction, caller)
    if model.spec.is_remote:
        parts = {"model": f"{model.spec.provider}/{model.spec.name}", **model.args}
        settings: dict[str, Any] = dict(model.args)
    else:
        llm = caller.local(model.spec)
        parts, settings = dict(llm.fingerprint()), dict(llm.settings)
    # A manifest travels with the row; the text of a private instruction must not.
    kept = first if instruction.visibility == "public" else "(private)"
    return Manifest(
        source=f"model {model.default_name}",
        parts={**parts, "sampling": digest(asdict(sampling))},
        settings={**settings, "sampling": asdict(sampling), "first_prompt": kept},
        herdbook=__version__,
    )


def require_own_prompts(
    row: Row, outputs: Mapping[str, Output], instructions: Sequence[Instruction]
) -> None:
    """Raises UserError where a stored answer was given to another prompt than the board's."""
    if other := _to_other_prompts(outputs, instructions):
        few = ", ".join(other[:3]) + (", …" if len(other) > 3 else "")
        raise UserError(
            f"{row.outputs_file}: {len(other)} answers were given to other prompts than this "
            f"board's ({few}). Answer anew with --overwrite, or under another --name"
        )


def require_stored(row: Row, outputs: Mapping[str, Output]) -> None:
    """Raises UserError where the answers in the row's file are not those that were stored there."""
    manifest = row.manifest()
    if manifest is not None and not manifest.names(outputs):
        raise UserError(
            f"{row.outputs_file}: these are not the answers that manifest.json names: the file was "
            "changed. Give the eval that made them once more, with --overwrite; or put these on "
            f"the board as others: leaderboard eval {row.outputs_file} --name NAME"
        )


def _to_other_prompts(
    outputs: Mapping[str, Output], instructions: Sequence[Instruction]
) -> list[str]:
    """The instructions whose answer was given to another prompt; an answer that does not say to
    which is taken as it is."""
    return [
        i.id
        for i in instructions
        if i.id in outputs and outputs[i.id].prompt not in (None, i.digest)
    ]


def _held(row: Row) -> dict[str, Output]:
    """The answers that the row has; a torn last line, as a killed run leaves it, is passed over."""
    return row.outputs(allow_torn=True) if row.outputs_file.is_file() else {}


def _write(row: Row, outputs: Iterable[Output]) -> None:
    write_atomic(row.outputs_file, "".join(to_line(output) + "\n" for output in outputs))


def claim(row: Row, manifest: Manifest, *, overwrite: bool) -> None:
    """Bind the row to what makes its answers, before the first of them is stored.

    A row that is bound already must be bound to the same. With `overwrite` it is emptied first,
    but for model.toml and the verdicts: each tells by its digest whether it is on the new texts.
    """
    bound = row.manifest()
    if bound is None and row.outputs_file.is_file() and not overwrite:
        raise UserError(
            f"{row.outputs_file} is there, but no manifest.json that says what made it. Give this "
            "run another --name, or --overwrite what is there"
        )
    if bound is not None and bound.fingerprint == manifest.fingerprint:
        return
    if bound is not None and not overwrite and _held(row):
        parts = sorted({**bound.parts, **manifest.parts})
        other = [part for part in parts if bound.parts.get(part) != manifest.parts.get(part)]
        raise UserError(
            f"the row {row.name!r} holds answers that were made otherwise (different: "
            f"{', '.join(other)}). Give this run another --name, or --overwrite what is there"
        )
    for file in (row.summary_file, row.outputs_file):
        file.unlink(missing_ok=True)
    row.write_manifest(manifest)
