from __future__ import annotations

import gzip
from contextlib import suppress
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ray_runtime.protocols.media import (
    MediaType,
    choose_reader,
    choose_writer,
    decompress,
    read_media_type,
)
from ray_runtime.protocols.problem import (
    Malformed,
    NotAcceptable,
    RequestError,
    TooLarge,
    Unsupported,
)

BOTH = ("application/json", "text/csv")


@pytest.mark.parametrize(
    "header, media",
    [
        pytest.param(b"application/json", MediaType("application/json", None), id="plain"),
        pytest.param(b' Text/CSV ; Charset="UTF-8"', MediaType("text/csv", "utf-8"), id="cased"),
        pytest.param(
            b"text/csv; header=present;",
            MediaType("text/csv", None, (("header", "present"),)),
            id="parameter",
        ),
    ],
)
def test_read_media_type(header: bytes, media: MediaType) -> None:
    assert read_media_type(header) == media


@pytest.mark.parametrize("header", [b"json", b"", b"/", b"a/", b"/b", b"a/b/c"])
def test_what_is_no_media_type_is_unsupported(header: bytes) -> None:
    with pytest.raises(Unsupported, match="not a media type"):
        read_media_type(header)


@pytest.mark.parametrize(
    "header, chosen",
    [
        pytest.param(None, "application/json", id="none-is-the-first"),
        pytest.param(b"text/csv; charset=utf-8", "text/csv", id="named"),
        pytest.param(b"text/csv; charset=ASCII", "text/csv", id="ascii-is-utf-8"),
    ],
)
def test_choose_reader(header: bytes | None, chosen: str) -> None:
    assert choose_reader(header, BOTH) == chosen


@pytest.mark.parametrize(
    "header, chosen",
    [
        pytest.param(None, "application/json", id="none"),
        pytest.param(b"", "application/json", id="empty"),
        pytest.param(b"*/*", "application/json", id="any"),
        pytest.param(b"text/*", "text/csv", id="family"),
        pytest.param(b"text/csv;q=0.9, application/json;q=0.8", "text/csv", id="better"),
        pytest.param(b"text/csv, application/json", "application/json", id="equals-first-is-ours"),
        pytest.param(b"application/json;q=0, */*", "text/csv", id="not-that-one"),
        pytest.param(
            b"text/html,application/xhtml+xml,*/*;q=0.8", "application/json", id="a-browser"
        ),
    ],
)
def test_choose_writer(header: bytes | None, chosen: str) -> None:
    assert choose_writer(header, BOTH) == chosen


@pytest.mark.parametrize("header", [b"image/png", b"text/*;q=0", b"application/json;q=x"])
def test_what_cannot_be_written_is_not_acceptable(header: bytes) -> None:
    with pytest.raises(NotAcceptable, match="answered as application/json or text/csv; ask for"):
        choose_writer(header, BOTH)


@given(st.binary(max_size=60))
def test_no_header_is_an_error_of_ours(header: bytes) -> None:
    with suppress(RequestError):
        assert choose_reader(header, BOTH) in BOTH
    with suppress(RequestError):
        assert choose_writer(header, BOTH) in BOTH


COMPRESS: dict[bytes, Any] = {b"gzip": gzip.compress, b"zstd": zstandard.ZstdCompressor().compress}


@pytest.mark.parametrize("encoding", COMPRESS)
class TestDecompress:
    @given(parts=st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=4))
    def test_gives_back_what_was_packed_in_one_or_several_members(
        self, encoding: bytes, parts: list[bytes]
    ) -> None:
        packed = b"".join(COMPRESS[encoding](part) for part in parts)
        assert decompress(packed, encoding, 10_000) == b"".join(parts)

    def test_stops_when_too_much_comes_out(self, encoding: bytes) -> None:
        bomb = COMPRESS[encoding](bytes(20_000_000))
        assert len(bomb) < 30_000
        with pytest.raises(TooLarge, match="1,000,000 bytes when decompressed"):
            decompress(bomb, encoding, 1_000_000)

    def test_a_truncated_body_is_malformed(self, encoding: bytes) -> None:
        packed = COMPRESS[encoding](bytes(range(256)) * 10)
        for length in (1, 5, len(packed) - 1):
            with pytest.raises(Malformed, match="not whole"):
                decompress(packed[:length], encoding, 10_000)
