"""The formats of bodies: what each function can read, and what it can write.

JSON carries every type. CSV and Arrow streams carry the frame of a function of one DataFrame, and
answers as tables. Reader and writer are chosen per pair of Content-Type and Accept, once: a pair
that was seen before is a dictionary look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from envelope.errors import SchemaError
from ray_runtime.calls import BodyBytes, Codec
from ray_runtime.protocols import arrow_ipc
from ray_runtime.protocols.media import KNOWN_HEADERS, choose_reader, choose_writer
from ray_runtime.protocols.problem import NotAcceptable

if TYPE_CHECKING:
    from envelope.schema import Call, Checker

Read: TypeAlias = Callable[[BodyBytes], "Call"]
Write: TypeAlias = Callable[[Any, "Call"], bytes]
WriteEach: TypeAlias = Callable[[Any, Sequence["Call"]], list[bytes]]
ChooseCodec: TypeAlias = Callable[[bytes | None, bytes | None], Codec[bytes]]

JSON = "application/json"
CSV = "text/csv"
ARROW = arrow_ipc.MEDIA_TYPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """write_each: for calls that were shared; None where the format cannot share."""

    write: Write
    write_each: WriteEach | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """What one function reads and writes, by media type; the first of each is the default."""

    readers: dict[str, Read]
    writers: dict[str, Writer]

    def chooser(self) -> ChooseCodec:
        """Return a function from (Content-Type, Accept) to a codec.

        It raises Unsupported for a body that is not read, NotAcceptable for an answer that is not
        written.
        """
        codecs = {
            (read_as, write_as): Codec(
                name=write_as,
                media_type=write_as.encode(),
                read=read,
                write=writer.write,
                write_each=writer.write_each,
            )
            for read_as, read in self.readers.items()
            for write_as, writer in self.writers.items()
        }
        readable, writable = tuple(self.readers), tuple(self.writers)

        @lru_cache(KNOWN_HEADERS)
        def choose(content_type: bytes | None, accept: bytes | None) -> Codec[bytes]:
            read_as = choose_reader(content_type, readable)
            return codecs[read_as, choose_writer(accept, writable)]

        return choose


def formats_of(checker: Checker, max_bytes: int) -> Formats:
    """Return the formats of a function. max_bytes: of a body, decompressed."""
    readers: dict[str, Read] = {JSON: checker.read_json}
    if checker.takes_one_frame:
        readers[CSV] = checker.read_csv
        readers[ARROW] = lambda body: checker.read_arrow(arrow_ipc.read_stream(body, max_bytes))
    writers = {
        JSON: Writer(
            write=checker.write_json,
            write_each=checker.write_json_each if checker.takes_one_frame else None,
        )
    }
    if checker.schema.output is not None:
        writers[CSV] = _table_writer(checker, checker.write_csv)
        writers[ARROW] = _table_writer(
            checker, lambda output, rows: arrow_ipc.write_stream(checker.write_arrow(output, rows))
        )
    return Formats(readers=readers, writers=writers)


def _table_writer(checker: Checker, write_table: Callable[[Any, int | None], bytes]) -> Writer:
    """Return a writer of answers as tables, which have as many rows as a row-wise call."""

    def write(output: Any, call: Call) -> bytes:
        try:
            return write_table(output, call.n_rows if checker.row_wise else None)
        except SchemaError as exc:
            if exc.faults:
                raise
            raise NotAcceptable(exc.summary) from exc  # no table has a type for this output

    def write_each(output: Any, calls: Sequence[Call]) -> list[bytes]:
        parts = checker.split(output, calls)
        return [write(part, call) for part, call in zip(parts, calls, strict=True)]

    return Writer(write=write, write_each=write_each if checker.takes_one_frame else None)
