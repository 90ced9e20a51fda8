"""Gets a model's answers into a row: copied from a file, or written by the model, one by one.

Answers are bound to what made them. The manifest is written first; a later run whose model, file,
template or sampling hashes to something else is refused, and an interrupted one goes on where it
stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from judges.backends.base import LocalLLM, Request, Sampling
from judges.backends.runner import complete_all
from judges.errors import UserError
from judges.records import Appender, digest, to_line, write_atomic
from judges.schema import Instruction, Output
from leaderboard import __version__
from leaderboard.results import Manifest, Row
from leaderboard.watch import Watch


def store_answers(
    row: Row, source: str, outputs: Mapping[str, Output], *, overwrite: bool = False
) -> None:
    """Put answers that were made elsewhere into the row.

    Raises UserError when the row holds other answers, unless `overwrite`.
    """
    texts = {output.instruction_id: output.text for output in outputs.values()}
    manifest = Manifest(
        source=source, parts={"answers": digest(texts)}, settings={}, herdbook=__version__
    )
    claim(row, manifest, overwrite=overwrite)
    lines = (to_line(replace(output, generator=row.name)) for output in outputs.values())
    write_atomic(row.outputs_file, "".join(line + "\n" for line in lines))


def generate_answers(
    row: Row,
    source: str,
    llm: LocalLLM,
    instructions: Sequence[Instruction],
    sampling: Sampling,
    watch: Watch,
    *,
    overwrite: bool = False,
) -> None:
    """Have a model answer those of the instructions that the row has no answer to yet.

    Each answer is appended as soon as it is there; at the end the file is in the instructions'
    order, answers beyond them behind. Raises UserError when the row's answers were made by another model or in another way, unless
    `overwrite`.
    """
    shown = dict(llm.settings)
    first = llm.render(instructions[0].messages)
    # A manifest travels with the row; the text of a private instruction must not.
    kept = first if instructions[0].visibility == "public" else "(private)"
    manifest = Manifest(
        source=source,
        parts={**llm.fingerprint(), "sampling": digest(asdict(sampling))},
        settings={**shown, "sampling": asdict(sampling), "first_prompt": kept},
        herdbook=__version__,
    )
    for key, value in shown.items():
        watch.note(f"{key.replace('_', ' ')}: {value if value is not None else '(none)'}")
    watch.note("first prompt:\n" + "\n".join(f"  | {line}" for line in first.splitlines()))
    claim(row, manifest, overwrite=overwrite)
    held = row.outputs(allow_torn=True) if row.outputs_file.is_file() else {}
    left = [i for i in instructions if i.id not in held]
    if held and left:
        watch.note(f"{len(held)} answers are there already; {len(left)} are left")
    requests = [Request(id=i.id, messages=i.messages, sampling=sampling) for i in left]
    with Appender(row.outputs_file) as file:
        completions = complete_all(llm, requests)
        for request, completion in watch.track(completions, len(requests), "answering"):
            output = Output(
                instruction_id=request.id,
                generator=row.name,
                text=completion.text,
                reasoning=completion.reasoning,
                finish_reason=completion.finish_reason,
            )
            file.append(output)
            held[request.id] = output
    place = {instruction.id: n for n, instruction in enumerate(instructions)}
    in_order = sorted(held.values(), key=lambda o: place.get(o.instruction_id, len(place)))
    write_atomic(row.outputs_file, "".join(to_line(output) + "\n" for output in in_order))


def claim(row: Row, manifest: Manifest, *, overwrite: bool) -> None:
    """Bind the row to what makes its answers, before the first of them is stored.

    A row that is bound already must be bound to the same. With `overwrite` it is emptied first,
    but for model.toml.
    """
    bound = row.manifest()
    if bound is None and row.outputs_file.is_file() and not overwrite:
        raise UserError(
            f"{row.outputs_file} is there, but no manifest.json that says what made it. Give this "
            "run another --name, or --overwrite what is there"
        )
    if bound is not None and bound.fingerprint == manifest.fingerprint:
        return
    if bound is not None and not overwrite:
        parts = sorted({**bound.parts, **manifest.parts})
        other = [part for part in parts if bound.parts.get(part) != manifest.parts.get(part)]
        raise UserError(
            f"the row {row.name!r} holds answers that were made otherwise (different: "
            f"{', '.join(other)}). Give this run another --name, or --overwrite what is there"
        )
    for file in (row.summary_file, row.annotations_file, row.outputs_file):
        file.unlink(missing_ok=True)
    row.write_manifest(manifest)
