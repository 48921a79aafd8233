"""Who a name belongs to, and what is made: one row per situation, and what always holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.making import MOST_MADE, Place, places, rules_of, to_make
from controller.state import MakeDeployment
from envelope.config import DeploymentConfig
from envelope.deployment_names import check_deployment_name
from envelope.registry import DeploymentRow, Made, RuleRow, TagValues

TEMPLATE, OTHER = "m_{tags.a}", "m_{tags.b}"
RULE = RuleRow(name="r", query="", deploy_to=TEMPLATE, priority=0, paused=False, version=1)
PLAIN = DeploymentRow(
    name="m_x",
    config=DeploymentConfig(),
    config_version=1,
    pin_envelope_id=None,
    pin_until=None,
    pinned_by=None,
    is_removed=False,
)
OF_X, OF_UPPER = (Made(template=TEMPLATE, tags={"a": value}) for value in ("x", "X"))
MADE = replace(PLAIN, made_of=OF_X, is_made=True)


def judged(
    rules: Sequence[RuleRow],
    rows: Sequence[DeploymentRow],
    values: Mapping[str, Sequence[Mapping[str, str]]],
    unmatched: Sequence[str] = (),
) -> list[Place]:
    """values: rule -> tags of its matches. unmatched: parts of queries that match nothing more."""
    found = {
        rule: [TagValues(tags=tags, envelope_id=f"E{n}") for n, tags in enumerate(many)]
        for rule, many in values.items()
    }
    return list(
        places(
            rules,
            {row.name: row for row in rows},
            lambda rule: found.get(rule.name, []),
            lambda rule: not any(part in rule.query for part in unmatched),
        )
    )


@pytest.mark.parametrize(
    "rules, rows, values, unmatched, told",
    [
        pytest.param([RULE], [], [{"a": "x"}], (), ("m_x", None, True), id="new"),
        pytest.param([RULE], [MADE], [{"a": "x"}], (), ("m_x", None, False), id="has-it"),
        pytest.param([RULE], [PLAIN], [{"a": "x"}], (), ("m_x", None, True), id="an-entry"),
        pytest.param([RULE], [], [{"a": "x"}], ("= 'x'",), ("m_x", None, False), id="vanished"),
        pytest.param(
            [RULE], [], [{"a": "-"}], (), ("m_-", None, True), id="a-dash-is-a-name-behind-letters"
        ),
        pytest.param([RULE], [], [{"a": "x y"}], (), (None, "makes 'm_x y'", False), id="no-name"),
        pytest.param(
            [RULE],
            [MADE],
            [{"a": "X"}],
            (),
            ("m_x", "the name m_x belongs to a='x' of m_{tags.a}", False),
            id="another-value",
        ),
        pytest.param(
            [RULE],
            [MADE],
            [{"a": "X"}],
            ("= 'x'",),
            ("m_x", None, True),
            id="another-value-when-the-first-is-gone",
        ),
        pytest.param(
            [RULE, replace(RULE, name="s", deploy_to=OTHER)],
            [replace(MADE, made_of=Made(template=OTHER, tags={"b": "x"}))],
            [{"a": "x"}],
            (),
            ("m_x", "the name m_x belongs to b='x' of m_{tags.b}", False),
            id="another-template",
        ),
        pytest.param(
            [RULE],
            [replace(MADE, made_of=Made(template=OTHER, tags={"b": "x"}))],
            [{"a": "x"}],
            (),
            ("m_x", None, True),
            id="a-template-that-no-rule-has",
        ),
        pytest.param(
            [RULE],
            [replace(PLAIN, is_removed=True)],
            [{"a": "x"}],
            (),
            ("m_x", "m_x is undeployed", False),
            id="undeployed",
        ),
        pytest.param(
            [RULE],
            [replace(MADE, is_removed=True)],
            [{"a": "x"}],
            (),
            ("m_x", None, False),
            id="its-own-undeployed",
        ),
        pytest.param(
            [RULE],
            [replace(MADE, is_removed=True, made_of=None)],
            [{"a": "x"}],
            (),
            ("m_x", None, True),
            id="went-with-its-template",
        ),
        pytest.param(
            [replace(RULE, paused=True)],
            [],
            [{"a": "x"}],
            (),
            ("m_x", "rule r is paused", False),
            id="paused",
        ),
        pytest.param(
            [replace(RULE, paused=True)],
            [MADE],
            [{"a": "x"}],
            (),
            ("m_x", None, False),
            id="paused-keeps-what-it-has",
        ),
        pytest.param(
            [RULE],
            [replace(MADE, name=f"m_{n}") for n in range(MOST_MADE)],
            [{"a": "x"}],
            (),
            ("m_x", f"m_{{tags.a}} has {MOST_MADE} deployments", False),
            id="too-many",
        ),
    ],
)
def test_where_matches_are_wanted(
    rules: Sequence[RuleRow],
    rows: Sequence[DeploymentRow],
    values: Sequence[Mapping[str, str]],
    unmatched: Sequence[str],
    told: tuple[str | None, str | None, bool],
) -> None:
    (place,) = judged(rules, rows, {"r": values}, unmatched)
    name, against, is_due = told
    assert (place.name, place.is_due) == (name, is_due)
    assert (place.against is None) == (against is None)
    assert against is None or against in str(place.against)


def test_of_two_that_are_new_the_higher_priority_has_the_name() -> None:
    rules = [RULE, replace(RULE, name="s", deploy_to=OTHER, priority=1)]
    found = judged(rules, [], {"r": [{"a": "x"}], "s": [{"b": "x"}]})
    assert to_make(found) == [
        MakeDeployment(
            deployment="m_x",
            made_of=Made(template=OTHER, tags={"b": "x"}),
            instead_of=None,
            reason="rule s matches b='x'",
        )
    ]
    assert found[1].against == "the name m_x belongs to b='x' of m_{tags.b}"


def test_the_rules_of_a_deployment_ask_for_its_tags() -> None:
    rules = [
        replace(RULE, query="tags.ok = 'yes' or name = 'm'"),
        replace(RULE, name="other", deploy_to=OTHER),
        replace(RULE, name="plain", deploy_to="m_x", query="proved = true"),
        replace(RULE, name="elsewhere", deploy_to="m_y"),
    ]
    assert [(rule.name, rule.deploy_to, rule.query) for rule in rules_of(MADE, rules)] == [
        ("r", "m_x", "(tags.ok = 'yes' or name = 'm') and tags.a = 'x'"),
        ("plain", "m_x", "proved = true"),
    ]


VALUES = st.sampled_from(("x", "X", "y", "x_y", "x y", "", "é"))
PAIRS = st.lists(st.tuples(VALUES, VALUES), max_size=12, unique=True)


@given(pairs=PAIRS)
def test_each_match_has_one_place_or_a_reason_and_names_are_given_once(
    pairs: list[tuple[str, str]],
) -> None:
    rule = replace(RULE, deploy_to="m_{tags.a}_{tags.b}")
    tags = [{"a": a, "b": b} for a, b in pairs]
    rows: dict[str, DeploymentRow] = {}
    for _ in range(2):  # the second time, what was due is there
        found = judged([rule], list(rows.values()), {"r": tags})
        assert [place.made_of.tags for place in found] == tags
        wanted = [place.name for place in found if place.against is None]
        assert len(set(wanted)) == len(wanted)
        for place in found:
            if place.name is None or place.against is not None:
                assert place.against and not place.is_due
        for action in to_make(found):
            assert action.instead_of is None and action.deployment not in rows
            name = check_deployment_name(action.deployment)
            rows[name] = replace(MADE, name=name, made_of=action.made_of)
    assert to_make(judged([rule], list(rows.values()), {"r": tags})) == []
