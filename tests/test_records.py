"""Records: one line each, read with their place, written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.errors import UserError
from judges.records import Appender, digest, read_records, to_line, validated, write_atomic
from judges.schema import Annotation, Instruction, Message, Output

resource = pytest.importorskip("resource", reason="limits on file sizes need a Unix")


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes: a write across it is cut short, the next one fails.

    So does a disk that is full.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def records_in(path: Path) -> list[dict[str, object]]:
    return [record for _, record in read_records(path)]


def failing(number: int) -> Callable[..., None]:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


# --------------------------------------------------------------------------------------- reading
@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b'{"a": 1}\n{"a": \n', 2, "not valid JSON"),
        (b'{"a": 1}\n\n \r\n[1]\n', 4, "a JSON object was expected"),
        (b"3", 1, "a JSON object was expected"),
        (b'{"a": 1}\n{"a": "\xff"}\n', 2, "not valid JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"\n", 1, "not valid JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}\n", 1, "not valid JSON"),
        (b'{"a": 1}{"a": 2}\n', 1, "not valid JSON"),
        (b'{"a": 1}\n{"a": 2', 2, "not valid JSON"),
    ],
)
def test_a_broken_line_is_named_by_file_and_number(tmp_path, content, line, problem):
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"x\.jsonl, line {line}: {problem}") as error:
        list(read_records(path))
    assert "\n" not in str(error.value)


def test_lines_keep_their_numbers_across_blank_ones(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n{"a": "\xe2\x80\xa8"}\n   \n{"a": 3}')
    assert list(read_records(path)) == [(1, {"a": 1}), (3, {"a": "\u2028"}), (5, {"a": 3})]


@pytest.mark.parametrize("torn", [b'{"a": 2', b'{"a": "\xe2\x80', b'{"a": 2}'])
def test_a_torn_last_line_is_passed_over_where_that_is_allowed(tmp_path, torn):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n' + torn)
    assert [record for _, record in read_records(path, allow_torn=True)] == [{"a": 1}]


def test_a_broken_line_in_the_middle_is_never_passed_over(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1\n{"a": 2}\n')
    with pytest.raises(UserError, match="line 1"):
        list(read_records(path, allow_torn=True))


@dataclass(frozen=True)
class Point:
    x: int
    label: str = ""
    tags: tuple[str, ...] = field(default=())


@pytest.mark.parametrize(
    ("value", "field_name"),
    [({"x": "one"}, "x"), ({}, "x"), ({"x": 1, "tags": ["a", 2]}, "tags.1")],
)
def test_a_wrong_field_is_named(value, field_name):
    with pytest.raises(UserError, match=rf"^here: {field_name}: ") as error:
        validated(Point, value, "here")
    assert "\n" not in str(error.value)


# --------------------------------------------------------------------------------------- writing
def test_fields_at_their_default_are_left_out():
    assert json.loads(to_line(Point(1))) == {"x": 1}
    assert json.loads(to_line(Point(0, "a", ("b",)))) == {"x": 0, "label": "a", "tags": ["b"]}
    verdict = Annotation(comparison_id="c", annotator="j", order="none", preference=None)
    assert json.loads(to_line(verdict))["preference"] is None


@pytest.mark.parametrize("text", ["\ud83d", "a\udc00b\n", "\u2028\x85\x00", "é🙂\\ud83d", '"\\'])
def test_any_text_comes_back_from_a_line_of_utf8(tmp_path, text):
    path = tmp_path / "x.jsonl"
    with Appender(path) as file:
        file.append(Output(instruction_id="i", generator="g", text=text))
    assert path.read_text(encoding="utf-8").count("\n") == 1
    assert records_in(path)[0]["text"] == text


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.booleans())))
def test_a_record_is_one_line_and_comes_back(record):
    line = to_line(record)
    assert "\n" not in line
    assert json.loads(line) == record


def test_a_digest_depends_on_the_value_alone():
    assert digest({"a": 1, "b": (1, 2)}) == digest(MappingProxyType({"b": [1, 2], "a": 1}))
    assert digest(Point(1)) == digest(Point(1, "", ())) == digest({"x": 1})
    instruction = Instruction(id="i", messages=(Message("user", "Hi"),), checks=({"kind": "x"},))
    copied = Instruction(id="i", messages=(Message("user", "Hi"),), checks=({"kind": "y"},))
    assert len({digest(v) for v in (instruction, copied, {}, [], None, "", 0, "0")}) == 8


def test_appended_lines_are_there_at_once(tmp_path):
    path = tmp_path / "new" / "folder" / "x.jsonl"
    with Appender(path) as file:
        for n in range(3):
            file.append({"n": n})
            assert records_in(path) == [{"n": m} for m in range(n + 1)]
    with Appender(path) as file:
        file.append({"n": 3})
    assert records_in(path) == [{"n": m} for m in range(4)]


@pytest.mark.parametrize("kept", [b"", b'{"n": 0}\n', b'{"n": 0}\n\n'])
@pytest.mark.parametrize("torn", [b"", b"{", b'{"n": "\xf0\x9f'])
def test_an_appender_cuts_off_a_torn_last_line_and_nothing_else(tmp_path, kept, torn):
    path = tmp_path / "x.jsonl"
    path.write_bytes(kept + torn)
    with Appender(path):
        assert path.read_bytes() == kept
    with Appender(path) as file:
        file.append({"n": 1})
    assert path.read_bytes() == kept + b'{"n": 1}\n'


@pytest.mark.parametrize("room", range(0, 40, 3))
def test_a_full_disk_in_the_middle_of_a_line_leaves_the_file_readable(tmp_path, room):
    path = tmp_path / "x.jsonl"
    with Appender(path) as file:
        file.append({"n": 0})
        whole = path.read_bytes()
        with disk_of(len(whole) + room):
            for _ in range(2):
                with pytest.raises(OSError):  # noqa: PT011 - which one depends on the room left
                    file.append({"text": "é" * 20})
                assert path.read_bytes() == whole
        # There is room again: the run goes on in the same file.
        file.append({"n": 1})
    assert records_in(path) == [{"n": 0}, {"n": 1}]


def test_a_full_disk_is_told_as_one(tmp_path):
    with Appender(tmp_path / "x.jsonl") as file, disk_of(10), pytest.raises(OSError) as error:  # noqa: PT011
        file.append({"text": "x" * 20})
    assert error.value.errno == errno.ENOSPC


def test_a_record_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "x.jsonl"
    with Appender(path) as file:
        file.append({"n": 0})
        with pytest.raises(TypeError):
            file.append({"n": {1, 2}})
    assert records_in(path) == [{"n": 0}]


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "x.txt"
    write_atomic(path, "old\n")
    with path.open() as reader:
        write_atomic(path, "née\r\n")
        assert reader.read() == "old\n"
    assert path.read_bytes() == "née\r\n".encode()
    assert os.listdir(path.parent) == ["x.txt"]


def test_half_of_a_surrogate_pair_is_written_as_json_reads_it(tmp_path):
    write_atomic(tmp_path / "x.json", json.dumps("a\ud83d", ensure_ascii=False))
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == "a\ud83d"


@pytest.mark.parametrize(
    ("module", "name"), [(os, "replace"), (os, "fsync"), (os, "chmod"), (tempfile, "mkstemp")]
)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_failed_replacement_keeps_the_old_file(tmp_path, monkeypatch, module, name, number):
    path = tmp_path / "x.txt"
    write_atomic(path, "old")
    monkeypatch.setattr(module, name, failing(number))
    with pytest.raises(OSError) as error:  # noqa: PT011 - its number is looked at below
        write_atomic(path, "new")
    assert error.value.errno == number
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_full_disk_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    write_atomic(path, "old")
    with disk_of(1000), pytest.raises(OSError, match="large"):
        write_atomic(path, "x" * 5000)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_an_error_of_the_system(tmp_path):
    path = tmp_path / "locked" / "x.jsonl"
    write_atomic(path, '{"n": 0}\n')
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with pytest.raises(PermissionError):
            write_atomic(path, "new")
        with pytest.raises(PermissionError), Appender(path):
            pass
        assert records_in(path) == [{"n": 0}]
    finally:
        path.parent.chmod(0o755)
