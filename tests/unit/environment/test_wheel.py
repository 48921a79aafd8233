import base64
import csv
import hashlib
import io
import sys
import zipfile

import pytest

from envelope.environment import repack_wheel
from envelope.errors import DependencyError
from tests.unit.capture.conftest import write


def content(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_our_own_wheel_has_everything_that_we_need_on_a_node(tmp_path):
    files = content(repack_wheel("model-envelope", tmp_path))
    assert {"envelope/__init__.py", "envelope/py.typed", "model_envelope/__init__.py"} <= set(files)
    assert {"ray_runtime/__init__.py", "controller/__init__.py"} <= set(files)
    info = next(name.partition("/")[0] for name in files if name.endswith("/METADATA"))
    assert f"{info}/entry_points.txt" in files
    assert not [name for name in files if "__pycache__" in name or name.endswith(".pth")]
    assert not [name for name in files if "direct_url" in name or name.startswith("tests")]


def test_the_record_is_true(tmp_path, site):
    site.add("pure", files={"pure/__init__.py": "x = 1", "pure/data.txt": "é"})
    files = content(repack_wheel("pure", tmp_path))
    record = {
        row[0]: row[1:]
        for row in csv.reader(io.StringIO(files.pop("pure-1.0.dist-info/RECORD").decode()))
    }
    assert record.pop("pure-1.0.dist-info/RECORD") == ["", ""]
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        assert record.pop(name) == [f"sha256={digest}", str(len(data))]
    assert record == {}


def test_equal_content_is_made_once(tmp_path, site):
    site.add("pure", "1.0")
    first = repack_wheel("pure", tmp_path)
    stamp = first.stat().st_mtime_ns
    again = repack_wheel("pure", tmp_path)
    assert (again, again.stat().st_mtime_ns) == (first, stamp)
    write(site.folder, {"pure/__init__.py": "changed = True"})
    assert repack_wheel("pure", tmp_path) != first
    assert repack_wheel("pure", tmp_path / "elsewhere").parent.name != first.parent.name


def test_the_tag_of_the_wheel_is_kept(tmp_path, site):
    site.add("two-tags", files={"two_tags.py": ""})
    tags = "Wheel-Version: 1.0\nTag: py2-none-any\nTag: py3-none-any\n"
    write(site.folder, {"two_tags-1.0.dist-info/WHEEL": tags})
    assert repack_wheel("two-tags", tmp_path).name == "two_tags-1.0-py2.py3-none-any.whl"


def test_scripts_and_what_an_installer_wrote_stay_out(tmp_path, site):
    site.add("tool", files={"tool/__init__.py": "", "../../bin/tool": "#!"})
    names = set(content(repack_wheel("tool", tmp_path)))
    assert names == {
        "tool/__init__.py",
        "tool-1.0.dist-info/METADATA",
        "tool-1.0.dist-info/WHEEL",
        "tool-1.0.dist-info/RECORD",
    }


@pytest.mark.parametrize("name", ["absent", "foreign-editable", "damaged"])
def test_what_no_wheel_can_be_made_of_is_an_error(tmp_path, site, name):
    site.add(
        "foreign-editable",
        files={},
        direct_url={"url": tmp_path.as_uri(), "dir_info": {"editable": True}},
    )
    site.add("damaged", files={"damaged.py": ""})
    (site.folder / "damaged.py").unlink()
    with pytest.raises(DependencyError, match="damaged" if name == "damaged" else name):
        repack_wheel(name, tmp_path)


def test_the_wheel_can_be_imported_from(tmp_path, site, monkeypatch):
    site.add("pure-lib", files={"pure_lib/__init__.py": "X = 42"})
    wheel = repack_wheel("pure-lib", tmp_path)
    monkeypatch.setattr(sys, "path", [str(wheel)])
    import pure_lib

    assert pure_lib.X == 42
