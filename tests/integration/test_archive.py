"""An envelope goes from one registry and store to another, as one file."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

import envelope as me
from envelope.cli import make_group
from envelope.connection import connect
from envelope.errors import EnvelopeError, IntegrityError, StorageError
from envelope.manifest import sha256_of
from envelope.registry import History, Report
from envelope.replay import Replay

pytestmark = pytest.mark.usefixtures("by_value")

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
REPORT = Report(
    python="3.11.7", environment="a" * 32, took_s=1.5, functions={"double": Replay(outcome="equal")}
)


def double(x: float) -> float:
    return 2 * x


def run(*arguments: str | Path) -> Result:
    command = [str(argument) for argument in arguments]
    return CliRunner(catch_exceptions=False).invoke(make_group(), command)


def save(**more: Any) -> me.Envelope:
    return me.save_model(**{"name": "m", "query_function": double, "api_input": 1.0, **more})


def with_a_history() -> me.Envelope:
    """An envelope to which something of every kind has happened."""
    envelope = save(tags={"region": "US", "old": "1"})
    envelope.change_tags({"region": "UK", "old": None, "passes_tests": "true"})
    envelope.log_metrics(auc=0.9, loss=math.nan, roc=me.Curve(x=[0], y=[1]))
    envelope.log_metrics(auc=0.5, at=LONG_AGO)
    envelope.add_query_function(lambda x: x / 2, "half", api_input=1.0)
    registry = connect().registry
    registry.add_proof(envelope.id, platform="p", ok=False, actor="ci", detail="no numpy")
    registry.add_proof(envelope.id, platform="p", ok=True, actor="ci", report=REPORT)
    return envelope


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return Path(run("export", with_a_history().id, "--to", tmp_path / "m.envelope").stdout.strip())


@pytest.fixture
def move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Go to another, empty installation."""

    def to(name: str = "elsewhere", registry: str | None = None) -> None:
        monkeypatch.setenv("ENVELOPE_HOME", str(tmp_path / name))
        monkeypatch.setenv("ENVELOPE_ACTOR", "importer@there")
        if registry is not None:
            monkeypatch.setenv("ENVELOPE_REGISTRY", registry)

    return to


def written(history: History) -> bytes:
    return msgspec.json.encode(history)


@pytest.mark.parametrize("registry", [None, "postgres_url", "server_url"])
def test_an_envelope_moves_with_its_history(
    registry: str | None, tmp_path: Path, move: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    envelope = with_a_history()
    before = connect().registry.history(envelope.id)
    file = tmp_path / "m.envelope"
    assert run("export", envelope.id[:20].lower(), "--to", file).stdout.strip() == str(file)
    move(registry=registry and request.getfixturevalue(registry))
    assert list(me.find()) == []

    assert run("import", file).stdout.split()[0] == envelope.id
    found = me.get(envelope.id)
    assert written(connect().registry.history(envelope.id)) == written(before)
    assert found.created_at == envelope.created_at
    assert found.manifest == envelope.manifest
    assert found.tags == {"region": "UK", "passes_tests": "true"}
    assert found.metrics()["auc"] == 0.9 and math.isnan(found.metrics()["loss"])
    assert found.metrics()["roc"] == me.Curve(x=[0], y=[1])
    assert found.proofs()[-1].report == REPORT
    assert (found.query(2.0), found.query(2.0, function="half")) == (4.0, 1.0)
    query = "tags.region = 'UK' and metrics.auc = 0.9 and proved = true and exists functions.half"
    assert list(me.find(query)) == [found]
    found.set_tags(region="DE")  # and life goes on
    assert connect().registry.tag_history(envelope.id)[-1].old == "UK"


def test_importing_twice_changes_nothing(exported: Path, move: Callable[..., None]) -> None:
    move()
    assert run("import", exported).exit_code == 0
    registry = connect().registry
    (envelope,) = me.find()
    envelope.set_tags(region="DE")
    last = registry.last_change()
    again = run("import", exported)
    assert (again.exit_code, "it is here already" in again.stderr) == (0, True)
    assert registry.last_change() == last
    assert me.get(envelope.id).tags["region"] == "DE"


def test_a_registry_that_shares_the_store_takes_it(
    exported: Path, home: Path, move: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVELOPE_STORE", f"file://{home / 'store'}")
    move()
    assert run("import", exported).exit_code == 0
    assert next(me.find()).query(1.0) == 2.0


def test_a_long_copy_is_announced(
    exported: Path, move: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envelope.transfer.ANNOUNCED_BYTES", 10)
    move()
    assert run("import", exported).stderr.startswith("copying envelope 01")


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None], **options: Any) -> Path:
    """A file like this one, with other content."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    other = path.with_name("other.envelope")
    with zipfile.ZipFile(other, "w", **options) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return other


def of_kind(content: dict[str, bytes], part: str) -> str:
    return next(name for name in sorted(content) if part in name)


def change_blob(content: dict[str, bytes]) -> None:
    content[of_kind(content, "/blobs/")] += b"x"
    content[of_kind(content, "/blobs/")] = content[of_kind(content, "/blobs/")][1:]


def change_function(content: dict[str, bytes]) -> None:
    name = of_kind(content, "double.json")
    content[name] = content[name].replace(b"double", b"dubble")


def lose_manifest(content: dict[str, bytes]) -> None:
    del content[of_kind(content, "manifest.json")]


def change_manifest(content: dict[str, bytes]) -> None:
    content[of_kind(content, "manifest.json")] += b" "


def of_the_future(content: dict[str, bytes]) -> None:
    content["envelope.json"] = content["envelope.json"].replace(
        b'"format_version":1', b'"format_version":9'
    )


def of_nothing(content: dict[str, bytes]) -> None:
    content["envelope.json"] = b"{}"


def forget_function(content: dict[str, bytes]) -> None:
    record = json.loads(content["envelope.json"])
    record["history"]["functions"] = []
    content["envelope.json"] = json.dumps(record).encode()


@pytest.mark.parametrize(
    "change, words",
    [
        pytest.param(change_blob, "was changed after it was saved", id="blob"),
        pytest.param(change_function, "was changed after it was saved", id="function"),
        pytest.param(change_manifest, "was changed after it was saved", id="manifest"),
        pytest.param(lose_manifest, "holds no envelope", id="no manifest"),
        pytest.param(of_the_future, "format version 9, this installation reads up to 1", id="new"),
        pytest.param(of_nothing, "is not a whole exported envelope", id="no record"),
        pytest.param(forget_function, "its functions are not those of its manifest", id="history"),
    ],
)
def test_a_changed_file_is_refused_and_nothing_is_left(
    exported: Path, move: Callable[..., None], change: Any, words: str
) -> None:
    move()
    with pytest.raises(EnvelopeError, match=words):
        run("import", rewritten(exported, change))
    assert list(me.find()) == []
    assert list(connect().store.envelope_ids()) == []


def test_files_that_are_no_envelopes(
    exported: Path, tmp_path: Path, move: Callable[..., None]
) -> None:
    move()
    cut = tmp_path / "cut.envelope"
    cut.write_bytes(exported.read_bytes()[:-100])
    deflated = rewritten(exported, lambda _: None, compression=zipfile.ZIP_DEFLATED)
    for path in (cut, deflated):
        with pytest.raises(IntegrityError, match="is not a whole exported envelope"):
            run("import", path)
    with pytest.raises(StorageError, match="there is no file"):
        run("import", tmp_path / "none.envelope")
    with pytest.raises(StorageError, match="name a file in a folder that can be used"):
        run("import", tmp_path)


def test_another_envelope_of_a_known_id_is_refused(
    exported: Path, move: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the registry knows it, or only the store."""
    (envelope,) = me.find()

    def rename(content: dict[str, bytes]) -> None:
        name = of_kind(content, "manifest.json")
        old = msgspec.json.decode(content["envelope.json"])["manifest_sha256"]
        content[name] = content[name].replace(b'"name":"m"', b'"name":"x"')
        content["envelope.json"] = content["envelope.json"].replace(
            old.encode(), sha256_of(content[name]).encode()
        )

    other = rewritten(exported, rename)
    with pytest.raises(EnvelopeError, match=f"another envelope {envelope.id} is registered here"):
        run("import", other)
    monkeypatch.setenv("ENVELOPE_STORE", connect().store.url)
    move()
    with pytest.raises(EnvelopeError, match=r"manifest\.json exists and is another one"):
        run("import", other)
    assert list(me.find()) == []


def test_no_file_is_written_over_and_none_is_left_half(
    exported: Path, tmp_path: Path, home: Path
) -> None:
    (envelope,) = me.find()
    with pytest.raises(StorageError, match="exists; remove it"):
        run("export", envelope.id, "--to", exported)
    (blob,) = envelope.manifest.artifact.blobs
    (home / "store" / "blobs" / blob.sha256[:2] / blob.sha256).write_bytes(b"changed")
    with pytest.raises(IntegrityError, match="was changed after"):
        run("export", envelope.id, "--to", tmp_path / "half.envelope")
    assert [path.name for path in tmp_path.iterdir()] == [exported.name]
