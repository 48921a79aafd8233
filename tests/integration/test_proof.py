"""Proofs with the real uv, in a real process, away from this one."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

import envelope as me
from envelope import proof as proving
from envelope.cli import main, make_group
from envelope.connection import connect
from envelope.errors import ConfigError, DependencyError, EnvironmentBuildError
from envelope.proof import ProofError
from envelope.replay import Replay

pytestmark = pytest.mark.usefixtures("by_value", "environments")

HERE = "ENVELOPE_TEST_TRAINS_HERE"  # in the environment of the process that trains, nowhere else
X = pd.DataFrame({"a": [0.1, 0.2, 0.3] * 4, "b": range(12)})


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Environments that these tests share, as proofs on one machine do."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture
def environments(built: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVELOPE_ENVIRONMENTS", str(built))
    monkeypatch.setenv(HERE, "1")


def total(frame: pd.DataFrame) -> list[float]:
    return (frame["a"] / 3 + frame["b"]).tolist()


def half(x: float) -> float:
    return x / 2


def save(function: object = half, **options: object) -> me.Envelope:
    example = X if function is total else 1.0
    return me.save_model(
        **{"name": "m", "query_function": function, "api_input": example, **options}  # type: ignore[arg-type]
    )


def run(*arguments: str) -> Result:
    return CliRunner().invoke(make_group(), arguments)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_registry(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "postgresql":
        monkeypatch.setenv("ENVELOPE_REGISTRY", request.getfixturevalue("postgres_url"))


@pytest.mark.usefixtures("any_registry")
def test_a_proof_is_a_fact_that_queries_ask_for(capfd: pytest.CaptureFixture[str]) -> None:
    proved, other = save(total, verify=True), save(half)
    assert "loading it and replaying 1 function" in capfd.readouterr().err
    assert list(me.find("proved = true")) == [proved]
    assert list(me.find("proved = false")) == [other]
    (proof,) = proved.proofs()
    assert (proof.ok, proof.detail, proof.actor) == (True, "", "tester@here")
    assert proof.report is not None
    assert proof.report.functions == {"total": Replay(outcome="equal", rtol=1e-9)}
    assert proof.report.python == proved.manifest.environment.python
    assert proof.report.took_s > 0
    built = connect().settings.environments_dir / proof.report.environment
    assert (built / "READY").exists()
    page = run("show", proved.id).stdout
    assert f"proved on {proof.platform}" in page
    shown = json.loads(run("show", proved.id, "--json").stdout)["proofs"]
    assert shown[0]["report"]["functions"]["total"]["outcome"] == "equal"


def where_it_runs(x: float) -> str:
    import os
    import sys

    if HERE in os.environ:
        return "as it should"
    home = os.environ["HOME"]
    faults = {
        "PYTHONPATH": "PYTHONPATH" in os.environ,
        "variables of the training": any(name.startswith("ENVELOPE_") for name in os.environ),
        "cwd": os.listdir(os.getcwd()) != [],
        "HOME": os.listdir(home) != [] or os.path.expanduser("~") != home,
        "path": any("pytest" in sys.modules or not path for path in sys.path),
        "interpreter": sys.prefix == sys.base_prefix or not sys.path[-1].startswith(sys.prefix),
    }
    return ", ".join(name for name, is_so in faults.items() if is_so) or "as it should"


def test_it_runs_away_from_where_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = run("verify", save(where_it_runs).id[:20], "--json")
    assert (result.exit_code, result.exception) == (0, None)
    assert json.loads(result.stdout)["report"]["functions"]["where_it_runs"]["outcome"] == "equal"


def of_this_machine(x: float) -> list[float]:
    return [x, x + (0.0 if HERE in os.environ else 0.25)]


def test_another_answer_is_told_with_its_figures_and_nothing_is_proved(
    capsys: pytest.CaptureFixture[str],
) -> None:
    envelope = save(of_this_machine)
    with pytest.raises(SystemExit) as ended:
        main(["verify", envelope.id])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    for words in [
        f"error: envelope {envelope.id} is not proved: replaying its sample there failed",
        "of_this_machine answers its saved sample differently here (floats may differ by 1e-09)",
        "[1]: relative difference 0.2",
        "the largest difference is 0.25 absolute, 0.2 relative",
        "save it again",
    ]:
        assert words in said
    assert list(me.find("proved = true")) == []
    (proof,) = envelope.proofs()
    assert (proof.ok, proof.report) == (False, None)
    assert proof.detail.startswith("replaying its sample there failed: of_this_machine answers")

    found = envelope.verify(tolerance=0.5).report
    assert found and found.functions["of_this_machine"] == Replay(
        outcome="within", max_difference=0.2, max_absolute=0.25, rtol=0.5
    )
    assert list(me.find("proved = true")) == [envelope]


def noisy(x: float) -> float:
    return x + random.random() * 0.001


def test_a_function_of_chance_needs_a_stated_tolerance() -> None:
    envelope = save(noisy)
    with pytest.raises(
        ProofError, match=r"noisy answered .* differently every time .* --tolerance"
    ):
        envelope.verify()
    assert [proof.ok for proof in envelope.proofs()] == [False]
    result = run("verify", envelope.id, "--tolerance", "0.01")
    assert "equal within 0.01: the largest difference is" in result.stdout
    with pytest.raises(ConfigError, match="tolerance is nan"):
        envelope.verify(tolerance=float("nan"))


def test_without_a_sample_it_is_rebuilt_and_loaded() -> None:
    result = run("verify", save(sample=False).id)
    assert "half                 not applicable: nothing to replay: sample=False" in result.stdout
    assert "rebuilt, and the model loaded in it" in result.stdout


def test_every_function_is_replayed() -> None:
    envelope = save(half)
    envelope.add_query_function(of_this_machine, api_input=1.0)
    with pytest.raises(ProofError, match="of_this_machine answers"):
        envelope.verify()


def test_a_lock_that_cannot_be_had_fails_in_the_resolvers_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("ENVELOPE_ENVIRONMENTS", str(tmp_path / "environments"))
    envelope = save(total)
    with pytest.raises(ProofError, match="rebuilding its environment failed") as caught:
        envelope.verify()
    assert caught.value.step == "build"
    assert 0 < len(caught.value.output) <= 50
    assert "was not found" in str(caught.value)
    (proof,) = envelope.proofs()
    assert "was not found" in proof.detail and not proof.ok


def test_changed_bytes_are_never_loaded() -> None:
    envelope = save()
    (blob,) = envelope.manifest.artifact.blobs
    connect().store.folder.write(f"blobs/{blob.sha256[:2]}/{blob.sha256}", b"something else")
    with pytest.raises(ProofError, match=r"loading it there failed: .* was changed after"):
        envelope.verify()


def fatal(x: float) -> float:
    if HERE not in os.environ:
        print("about to end", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def test_a_process_that_dies_is_told_with_its_last_words() -> None:
    envelope = save(fatal)
    with pytest.raises(ProofError, match=r"died of SIGKILL(.|\n)*about to end"):
        envelope.verify()
    assert "about to end" not in envelope.proofs()[0].detail  # it may be anybody's data


def endless(x: float) -> float:
    while HERE not in os.environ:
        signal.pause()
    return x


def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    envelope, connection = save(endless), connect()
    place = proving.Workplace(
        environments_dir=connection.settings.environments_dir, tell=print, timeout_s=3
    )
    with pytest.raises(ProofError, match="was ended after 3 s"):
        proving.prove(connection.store, connection.registry.envelope(envelope.id), place, None)


def test_local_modules_and_a_store_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proving process cannot reach this store, nor has it credentials: the bytes come to it."""
    monkeypatch.setenv("ENVELOPE_STORE", "memory://proofs")
    (tmp_path / "thirds_of_mine.py").write_text("def third(x: float) -> float:\n    return x / 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    import thirds_of_mine

    envelope = save(thirds_of_mine.third, modules=[thirds_of_mine])
    report = envelope.verify().report
    assert report and report.functions["third"].outcome == "equal"


def test_another_python_is_refused_and_nothing_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    envelope = save()
    monkeypatch.setattr("platform.python_version", lambda: "2.7.18")
    with pytest.raises(DependencyError, match=r"this node runs Python 2\.7\.18"):
        envelope.verify()
    assert envelope.proofs() == []


def test_a_machine_that_cannot_build_says_nothing_of_the_envelope(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("ENVELOPE_ENVIRONMENTS", str(tmp_path / "a file"))
    envelope = save()
    with pytest.raises(EnvironmentBuildError, match="set ENVELOPE_ENVIRONMENTS to a folder"):
        envelope.verify()
    assert envelope.proofs() == []
