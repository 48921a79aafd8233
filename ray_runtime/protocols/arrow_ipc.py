"""Arrow IPC streams as bodies, read as what strangers send.

An Arrow stream is a memory image: its offsets are checked in full before anything looks at them,
and what its buffers say that they hold when decompressed is added up before anything allocates it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ray_runtime.calls import BodyBytes
from ray_runtime.protocols.problem import Malformed, TooLarge

if TYPE_CHECKING:
    import pyarrow as pa

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
ROWS_PER_BYTE = 8  # a column of booleans; more rows than that hold nothing

# Places of fields in the format's flatbuffers (Message.fbs).
_MESSAGE_HEADER_TYPE, _MESSAGE_HEADER = 1, 2
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
_DICTIONARY_DATA = 1
_BATCH_BUFFERS, _BATCH_COMPRESSION = 2, 3


def read_stream(body: BodyBytes, max_bytes: int) -> pa.Table:
    """Return the table of a stream. Raises Malformed, TooLarge when it decompresses to more."""
    import pyarrow as pa

    try:
        unpacked = sum(_unpacked_bytes(message) for message in _messages(body))
        if unpacked > max_bytes:
            raise TooLarge(f"the body is more than {max_bytes:,} bytes when decompressed")
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all()
        if table.num_rows > ROWS_PER_BYTE * (len(body) + unpacked):
            raise TooLarge(f"{table.num_rows:,} rows are more than the body holds")
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, EOFError, struct.error, IndexError):
        raise Malformed("the body is not a whole Arrow IPC stream") from None
    return table


def write_stream(table: pa.Table) -> bytes:
    """Return a table as a stream of one batch."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _messages(body: BodyBytes) -> Any:
    import pyarrow as pa

    reader = pa.ipc.MessageReader.open_stream(body)
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _unpacked_bytes(message: Any) -> int:
    """Return how many bytes a message's compressed buffers hold; 0 when they are not compressed."""
    metadata = memoryview(message.metadata)
    root = _table(metadata, 0)
    kind = _field(metadata, root, _MESSAGE_HEADER_TYPE)
    header = _field(metadata, root, _MESSAGE_HEADER)
    if kind is None or header is None or metadata[kind] not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return 0
    batch = _table(metadata, header)
    if metadata[kind] == _DICTIONARY_BATCH:
        data = _field(metadata, batch, _DICTIONARY_DATA)
        if data is None:
            return 0
        batch = _table(metadata, data)
    buffers = _field(metadata, batch, _BATCH_BUFFERS)
    if buffers is None or _field(metadata, batch, _BATCH_COMPRESSION) is None:
        return 0
    return _sum_of_lengths(metadata, _table(metadata, buffers), memoryview(message.body))


def _sum_of_lengths(metadata: memoryview, vector: int, body: memoryview) -> int:
    """Add up what compressed buffers begin with: their length before (-1: not compressed)."""
    (count,) = struct.unpack_from("<I", metadata, vector)
    total = 0
    for place in range(count):
        offset, length = struct.unpack_from("<qq", metadata, vector + 4 + 16 * place)
        if length >= 8:
            (unpacked,) = struct.unpack_from("<q", body, offset)
            total += max(unpacked, 0)
    return total


def _table(data: memoryview, at: int) -> int:
    """Follow a flatbuffer's relative offset."""
    (offset,) = struct.unpack_from("<I", data, at)
    return at + int(offset)


def _field(data: memoryview, table: int, place: int) -> int | None:
    """Return where a table's field is; None when it is left out."""
    (back,) = struct.unpack_from("<i", data, table)
    vtable = table - back
    (size,) = struct.unpack_from("<H", data, vtable)
    if 4 + 2 * place + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + 4 + 2 * place)
    return table + int(offset) if offset else None
