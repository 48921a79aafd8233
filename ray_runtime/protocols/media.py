"""Content-Type, Accept and Content-Encoding, read once per distinct header value."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import zstandard

from ray_runtime.protocols.problem import Malformed, NotAcceptable, TooLarge, Unsupported

KNOWN_HEADERS = 512  # clients repeat themselves; an attacker's variety is forgotten again
CHUNK_BYTES = 1 << 16
ZSTD_STEP_BYTES = 1 << 10  # what zstd makes at most of these is 32 MiB
_UTF8 = ("utf-8", "utf8", "us-ascii", "ascii")


class MediaType(NamedTuple):
    """`application/json; charset=utf-8`, in lower case. parameters: without charset."""

    essence: str
    charset: str | None
    parameters: tuple[tuple[str, str], ...] = ()


@lru_cache(KNOWN_HEADERS)
def read_media_type(header: bytes) -> MediaType:
    """Parse a Content-Type. Raises Unsupported for what is no media type at all."""
    essence, *rest = header.decode("latin-1").split(";")
    essence = essence.strip().lower()
    if essence.count("/") != 1 or essence.startswith("/") or essence.endswith("/"):
        raise Unsupported(f"Content-Type is not a media type; send {'application/json'}")
    pairs = [_parameter(text) for text in rest if text.strip()]
    charset = next((value.lower() for name, value in pairs if name == "charset"), None)
    return MediaType(essence, charset, tuple(pair for pair in pairs if pair[0] != "charset"))


def choose_reader(header: bytes | None, readable: Sequence[str]) -> str:
    """Return which of the media types in `readable` a body is; the first without a Content-Type.

    Raises Unsupported, with the list, for any other type and for text that is not UTF-8.
    """
    if header is None:
        return readable[0]
    media = read_media_type(header)
    if media.essence not in readable:
        hint = ""
        if media.essence == "application/x-www-form-urlencoded":
            hint = " (curl sends this type unless told otherwise: curl --json '...')"
        raise Unsupported(
            f"a body of type {media.essence} is not read here{hint}; send {_either(readable)}"
        )
    if media.charset is not None and media.charset not in _UTF8:
        raise Unsupported(f"text in {media.charset} is not read here; send UTF-8")
    return media.essence


@lru_cache(KNOWN_HEADERS)
def choose_writer(header: bytes | None, writable: tuple[str, ...]) -> str:
    """Return the media type to answer with: the one of `writable` that Accept likes best.

    Of equals the first in `writable`. Raises NotAcceptable, with the list, when it likes none.
    """
    if header is None or header.strip() in (b"", b"*/*"):
        return writable[0]
    ranges = list(_ranges(header.decode("latin-1")))
    best = max(writable, key=lambda media: _quality(media, ranges))
    if _quality(best, ranges) <= 0:
        raise NotAcceptable(f"this is answered as {_either(writable)}; ask for that in Accept")
    return best


def decompress(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """Undo a Content-Encoding, giving up as soon as more than `max_bytes` come out.

    Raises TooLarge, Malformed (not what the header says) and Unsupported (another encoding).
    """
    name = encoding.decode("latin-1").strip().lower()
    if name in ("", "identity"):
        return body
    if name not in _DECOMPRESSORS:
        raise Unsupported(
            f"Content-Encoding {name} is not read here; send gzip, deflate, zstd or none"
        )
    out = bytearray()
    try:
        for part in _DECOMPRESSORS[name](body, max_bytes):
            out += part
            if len(out) > max_bytes:
                raise TooLarge(f"the body is more than {max_bytes:,} bytes when decompressed")
    except (zlib.error, zstandard.ZstdError, EOFError):
        raise Malformed(f"the body is not whole {name}, which Content-Encoding says") from None
    return bytes(out)


def _inflate(body: bytes, max_bytes: int) -> Iterator[bytes]:
    while body:  # a gzip file may have several members
        member = zlib.decompressobj(wbits=47)  # gzip and zlib, whichever it begins with
        while not member.eof:
            part = member.decompress(body, CHUNK_BYTES)
            if not part and not member.unconsumed_tail and not member.eof:
                raise EOFError
            yield part
            body = member.unconsumed_tail
        body = member.unused_data


def _unzstd(body: bytes, max_bytes: int) -> Iterator[bytes]:
    # A frame may ask for a window of gigabytes before the first byte comes out.
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    while body:
        frame = decompressor.decompressobj()
        start = 0
        while not frame.eof:
            if start >= len(body):
                raise EOFError
            yield frame.decompress(body[start : start + ZSTD_STEP_BYTES])
            start += ZSTD_STEP_BYTES
        body = frame.unused_data + body[start:]


_DECOMPRESSORS: dict[str, Callable[[bytes, int], Iterator[bytes]]] = {
    "gzip": _inflate,
    "x-gzip": _inflate,
    "deflate": _inflate,
    "zstd": _unzstd,
}


class _Range(NamedTuple):
    essence: str
    quality: float


def _ranges(header: str) -> Iterator[_Range]:
    for text in header.split(","):
        essence, *rest = text.split(";")
        values = dict(_parameter(one) for one in rest if one.strip())
        try:
            quality = float(values.get("q", "1"))
        except ValueError:
            quality = 0.0
        yield _Range(essence.strip().lower(), quality)


def _quality(media: str, ranges: Sequence[_Range]) -> float:
    """Return what the most specific range that covers a media type says."""
    family = media.partition("/")[0] + "/*"
    for essence in (media, family, "*/*"):
        found = [one.quality for one in ranges if one.essence == essence]
        if found:
            return max(found)
    return 0.0


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"')


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
