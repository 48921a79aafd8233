"""Where a path lies, and text that no database holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope.errors import ConfigError
from envelope.registry.engine import network_filesystem
from envelope.registry.text import check_key, check_text

MOUNTS = """\
overlay / overlay rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
filer:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb1 /home/ann/scratch ext4 rw 0 0
//nas/share /mnt/my\\040share cifs rw 0 0
/dev/sdc1 /srv ext4 rw 0 0
filer:/srv /srv nfs rw 0 0
"""


@pytest.mark.parametrize(
    "path, found",
    [
        pytest.param("/registry.db", None, id="root"),
        pytest.param("/home/ann/.envelope/registry.db", "nfs4", id="home-on-nfs"),
        pytest.param("/home/ann/scratch/registry.db", None, id="local-disk-below-nfs"),
        pytest.param("/homestead/registry.db", None, id="not-a-prefix-of-a-name"),
        pytest.param("/mnt/my share/registry.db", "cifs", id="space"),
        pytest.param("/srv/registry.db", "nfs", id="the-last-mount-covers"),
    ],
)
def test_network_filesystem(path: str, found: str | None) -> None:
    assert network_filesystem(Path(path), MOUNTS) == found


def test_links_are_followed(tmp_path: Path) -> None:
    real = tmp_path.resolve()
    (real / "far").mkdir()
    (real / "near").symlink_to(real / "far")
    mounts = f"overlay / overlay rw 0 0\nfiler:/x {real / 'far'} nfs rw 0 0\n"
    assert network_filesystem(real / "near" / "registry.db", mounts) == "nfs"


@pytest.mark.parametrize(
    "text, message",
    [
        pytest.param(3, "x is int 3, not a string; write '3'", id="int"),
        pytest.param("a\0", "x holds a NUL character at position 2", id="nul"),
        pytest.param("é\udfff", "half a surrogate pair .U.DFFF. at position 2", id="surrogate"),
        pytest.param("é" * 6, "x is 12 bytes long, the limit is 10", id="long"),
    ],
)
def test_text_that_cannot_be_stored(text: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_text(text, "x", max_bytes=10)


def test_text_that_can() -> None:
    assert check_text("\U0001f600\n", "x") == "\U0001f600\n"
    with pytest.raises(ConfigError, match="x is empty; give it a name"):
        check_key("", "x")
