from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import envelope as me
from envelope.cli import main, make_group

pytestmark = pytest.mark.usefixtures("by_value")

OWN = EntryPoint("envelope", "envelope.commands:add_commands", "envelope.commands")
ABSENT = EntryPoint("controller", "no_such_package.commands:add_commands", "envelope.commands")


def double(x: float) -> float:
    return 2 * x


def save(name: str = "ltv", **tags: str) -> me.Envelope:
    return me.save_model(
        name=name, query_function=double, api_input=1.0, tags=tags, hyperparameters={"C": 0.1}
    )


def run(*arguments: str) -> Result:
    return CliRunner().invoke(make_group([OWN]), arguments)


def test_found_envelopes_are_a_line_each() -> None:
    first, second = save(region="US"), save(region="US", kind="x")
    save(region="UK")
    result = run("find", "tags.region = 'US'")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [second.id, first.id]
    assert lines[0].endswith("ltv  kind=x region=US")


def test_the_rest_of_a_long_list_is_announced() -> None:
    for _ in range(3):
        save()
    result = run("find", "--limit", "2")
    assert len(result.stdout.splitlines()) == 2
    assert "--limit 0 lists all" in result.stderr
    assert len(run("find", "--limit", "0").stdout.splitlines()) == 3


def test_no_match_is_no_failure() -> None:
    result = run("find", "tags.region = 'US'")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no envelope matches" in result.stderr


def test_found_envelopes_as_json() -> None:
    envelope = save(region="US")
    (line,) = run("find", "--json").stdout.splitlines()
    found = json.loads(line)
    assert (found["id"], found["tags"]) == (envelope.id, {"region": "US"})


def test_one_envelope_on_a_page() -> None:
    envelope = save(region="US")
    envelope.log_metrics(auc=0.9, roc=me.Curve(x=[0], y=[1]))
    page = run("show", envelope.id[:24]).stdout
    for expected in [
        envelope.id,
        "ltv",
        "region=US",
        "auc = 0.9",
        "roc = curve",
        "x: float",
        "-> float",
        '{"C": 0.1}',
    ]:
        assert expected in page


def test_a_metric_of_an_unknown_type_is_shown_as_json_and_compared() -> None:
    envelope, other = save(), save()
    gain = {"type": "gain", "deciles": [0.5], "plot": {"mark": "bar"}}
    envelope.log_metrics(gain=gain)
    assert 'gain = {"type": "gain", "deciles": [0.5]}' in run("show", envelope.id).stdout
    assert json.loads(run("show", envelope.id, "--json").stdout)["metrics"] == {"gain": gain}
    assert "- gain: gain" in run("diff", envelope.id, other.id).stdout


def test_one_envelope_as_json() -> None:
    envelope = save(region="US")
    envelope.log_metrics(auc=0.9, roc=me.Curve(x=[0], y=[1]))
    shown = json.loads(run("show", envelope.id, "--json").stdout)
    assert shown["metrics"] == {"auc": 0.9, "roc": {"type": "curve", "x": [0], "y": [1]}}
    assert shown["manifest"]["id"] == envelope.id
    assert shown["functions"]["double"]["sample"] == {"input": {"x": 1.0}, "output": 2.0}


def test_showing_never_unpickles(monkeypatch: pytest.MonkeyPatch) -> None:
    envelope = save()

    def refuse(*_: object) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr("pickle.load", refuse)
    assert run("show", envelope.id).exit_code == 0
    assert run("find").exit_code == 0


def test_tags_are_set_and_removed() -> None:
    envelope = save(region="US", old="1")
    result = run("tag", envelope.id, "region=UK", "formula=a=b", "--remove", "old")
    assert result.stdout.splitlines() == ["formula=a=b", "region=UK"]
    assert envelope.refresh().tags == {"formula": "a=b", "region": "UK"}
    assert run("tag", envelope.id).stdout == result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["tag", "ID", "region"], id="no-value"),
        pytest.param(["tag", "ID", "=US"], id="no-key"),
        pytest.param(["tag", "ID", "a=1", "--remove", "a"], id="set-and-removed"),
        pytest.param(["find", "--no-such-option"], id="option"),
        pytest.param(["find", "--limit", "many"], id="not-a-number"),
        pytest.param(["no-such-command"], id="command"),
        pytest.param(["show"], id="no-id"),
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["show", "0000"], "error: there is no envelope 0000", id="unknown-id"),
        pytest.param(["find", "tags.region ="], "(column", id="query"),
        pytest.param(["tag", "0000", "a=b"], "error: there is no envelope", id="tag"),
    ],
)
def test_what_fails_is_status_1_and_one_error(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.out == ""


def test_the_registry_is_made_by_upgrade(home: Path) -> None:
    result = run("registry", "upgrade")
    assert result.exit_code == 0
    assert result.stdout.startswith("the registry has schema ")
    assert (home / "registry.db").is_file()


def test_a_package_that_is_not_installed_is_passed_over() -> None:
    group = make_group([ABSENT, OWN])
    assert CliRunner().invoke(group, ["find"]).exit_code == 0
    assert "find" in CliRunner().invoke(group, ["--help"]).stdout


def test_a_command_that_may_be_of_it_says_how_to_get_it() -> None:
    result = CliRunner().invoke(make_group([ABSENT, OWN]), ["up"])
    assert result.exit_code == 2
    assert "No such command 'up'" in result.stderr
    assert "The commands of controller are not installed here" in result.stderr
    assert "pip install 'model-envelope[controller]'" in result.stderr


def test_the_version_is_told() -> None:
    assert "version 0." in run("--version").stdout
