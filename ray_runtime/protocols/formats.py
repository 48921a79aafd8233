"""The formats of bodies: what each function can read, and what it can write.

Reader and writer are chosen per pair of Content-Type and Accept, once: a pair that was seen before
is a dictionary look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from ray_runtime.calls import Codec
from ray_runtime.protocols.media import KNOWN_HEADERS, choose_reader, choose_writer

if TYPE_CHECKING:
    from envelope.schema import Call, Checker

Read: TypeAlias = Callable[[bytes], "Call"]
Write: TypeAlias = Callable[[Any, "Call"], bytes]
WriteEach: TypeAlias = Callable[[Any, Sequence["Call"]], list[bytes]]
ChooseCodec: TypeAlias = Callable[[bytes | None, bytes | None], Codec]

JSON = "application/json"


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
                media_type=write_as,
                read=read,
                write=writer.write,
                write_each=writer.write_each,
            )
            for read_as, read in self.readers.items()
            for write_as, writer in self.writers.items()
        }
        readable, writable = tuple(self.readers), tuple(self.writers)

        @lru_cache(KNOWN_HEADERS)
        def choose(content_type: bytes | None, accept: bytes | None) -> Codec:
            read_as = choose_reader(content_type, readable)
            return codecs[read_as, choose_writer(accept, writable)]

        return choose


def formats_of(checker: Checker) -> Formats:
    """Return the formats of a function: JSON carries every type."""
    json_writer = Writer(
        write=checker.write_json,
        write_each=checker.write_json_each if checker.takes_one_frame else None,
    )
    return Formats(readers={JSON: checker.read_json}, writers={JSON: json_writer})
