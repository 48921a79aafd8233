"""Versions as text that sorts by code point the way PEP 440 orders versions."""

from __future__ import annotations

from functools import lru_cache

from packaging.version import InvalidVersion, Version


@lru_cache(maxsize=4096)
def version_key(text: str) -> str | None:
    """Return a key whose code point order is the order of versions; None for no PEP 440 version.

    >>> version_key("1.9") < version_key("1.10rc1") < version_key("1.10") == version_key("1.10.0")
    True
    """
    try:
        version = Version(text)
        release = "".join(map(_number, _without_trailing_zeros(version.release)))
        parts = [_number(version.epoch), release, "!", _pre(version)]
        parts.append("0" if version.post is None else f"1{_number(version.post)}")
        parts.append("1" if version.dev is None else f"0{_number(version.dev)}")
        parts.append(_local(version.local))
    except (InvalidVersion, OverflowError):
        return None
    return "".join(parts)


def _number(value: int) -> str:
    """Digits after how many there are: 9 -> "019", 10 -> "0210"."""
    digits = str(value)
    if len(digits) > 99:
        raise OverflowError(f"a version with a number of {len(digits)} digits")
    return f"{len(digits):02d}{digits}"


def _without_trailing_zeros(release: tuple[int, ...]) -> tuple[int, ...]:
    while release and release[-1] == 0:
        release = release[:-1]
    return release


def _pre(version: Version) -> str:
    if version.pre is not None:
        letter, number = version.pre
        return f"1{letter}!{_number(number)}"
    is_before_any_pre = version.post is None and version.dev is not None  # 1.0.dev1 < 1.0a1
    return "0" if is_before_any_pre else "2"


def _local(local: str | None) -> str:
    if local is None:
        return "0"
    parts = local.split(".")
    return "1" + "".join(f"2{_number(int(p))}" if p.isdigit() else f"1{p}!" for p in parts) + "!"
