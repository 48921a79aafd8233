"""Templates: what they make of tags, and why they make nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope.deployment_names import (
    DEPLOYMENT_NAME,
    NoName,
    check_deployment_name,
    is_template,
    name_of,
    read_template,
    values_of,
)
from envelope.errors import ConfigError


@pytest.mark.parametrize(
    "text, tags, name",
    [
        pytest.param("ltv_{tags.region}", {"region": "us"}, "ltv_us", id="one"),
        pytest.param("ltv_{tags.region}", {"region": "US"}, "ltv_us", id="lower-case"),
        pytest.param("{tags.region}", {"region": "us"}, "us", id="nothing-else"),
        pytest.param("{tags.a}-{tags.b}", {"a": "x", "b": "y", "c": "z"}, "x-y", id="two"),
        pytest.param("{tags.a}_{tags.a}", {"a": "x"}, "x_x", id="twice"),
        pytest.param('m-{tags."some ""key"""}', {'some "key"': "x"}, "m-x", id="quoted"),
        pytest.param('m-{tags."{a}"}', {"{a}": "x"}, "m-x", id="a-brace-in-the-key"),
    ],
)
def test_the_name_that_a_template_makes(text: str, tags: dict[str, str], name: str) -> None:
    template = read_template(text)
    values = values_of(template, tags)
    assert not isinstance(values, NoName)
    assert name_of(template, values) == name


@pytest.mark.parametrize(
    "value, made",
    [
        pytest.param("U S", "ltv_u s", id="space"),
        pytest.param("u/s", "ltv_u/s", id="slash"),
        pytest.param("", "ltv_", id="empty"),
        pytest.param("a--b", "ltv_a--b", id="reserved"),
        pytest.param("ü", "ltv_ü", id="not-ascii"),
        pytest.param("\u212a", "ltv_\u212a", id="a-kelvin-sign-is-no-k"),
        pytest.param("x" * 60, "ltv_" + "x" * 60, id="too-long"),
    ],
)
def test_values_that_make_no_name(value: str, made: str) -> None:
    found = name_of(read_template("ltv_{tags.region}"), {"region": value})
    assert isinstance(found, NoName)
    assert f"region={value!r} makes {made!r}, which cannot be a deployment's name" in found.why


def test_a_tag_that_is_missing_is_named() -> None:
    found = values_of(read_template("{tags.a}_{tags.b}_{tags.c}"), {"b": "x"})
    assert found == NoName(
        why="it has no tag 'a' and 'c', which {tags.a}_{tags.b}_{tags.c} asks for"
    )


@pytest.mark.parametrize(
    "text, message",
    [
        pytest.param("ltv_{region}", "holds '{region}', which names no tag", id="no-tag"),
        pytest.param("ltv_{ tags.region }", "which names no tag", id="spaces"),
        pytest.param("ltv_{metrics.auc}", "which names no tag", id="a-metric"),
        pytest.param("ltv", "'ltv' is no template: it has no tag", id="a-name"),
        pytest.param("ltv_{}", "which names no tag", id="empty"),
        pytest.param("ltv_{tags.a", "has a brace that belongs to no tag", id="open"),
        pytest.param("ltv_tags.a}", "has a brace that belongs to no tag", id="closed"),
        pytest.param("{tags.a}}", "has a brace that belongs to no tag", id="one-too-many"),
        pytest.param("LTV_{tags.a}", "makes no deployment's name of any value", id="upper-case"),
        pytest.param("ltv--{tags.a}", "makes no deployment's name of any value", id="reserved"),
        pytest.param("_{tags.a}", "makes no deployment's name of any value", id="first"),
        pytest.param("".join(f"{{tags.t{n}}}" for n in range(9)), "has 9 tags", id="too-many"),
        pytest.param("x" * 63 + "{tags.a}", "makes no deployment's name", id="too-long"),
    ],
)
def test_templates_that_cannot_be(text: str, message: str) -> None:
    assert is_template(text) == (text != "ltv")
    with pytest.raises(ConfigError) as refused:
        read_template(text)
    assert message in str(refused.value)


@given(st.text(alphabet="aZ0_- {}\n\u212aé", max_size=70))
def test_what_is_made_is_a_name_or_is_told(value: str) -> None:
    found = name_of(read_template("ltv_{tags.a}"), {"a": value})
    if isinstance(found, NoName):
        assert repr(value) in found.why
    else:
        assert check_deployment_name(found) == found
        assert DEPLOYMENT_NAME.fullmatch(found) and not is_template(found)
        assert found.removeprefix("ltv_") == value.lower()


@given(st.lists(st.sampled_from(["a", "b", "some key", '"', "{x}"]), min_size=1, max_size=4))
def test_a_template_names_its_tags_in_order(keys: list[str]) -> None:
    quoted = ['{tags."' + key.replace('"', '""') + '"}' for key in keys]
    template = read_template("n_" + "_".join(quoted))
    assert template.tags == tuple(keys)
    assert template.keys == tuple(dict.fromkeys(keys))
