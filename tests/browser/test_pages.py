"""The pages as people use them: a real Chromium, a real server, a real registry."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

import envelope as me
from controller.server import serving
from envelope.connection import disconnect
from ray_runtime.ports import free_ports
from tests.pages import DEPLOYMENT, Filled, fill
from tests.served import served
from tests.unit.runtime.conftest import options_for

ARTIFACTS = Path(__file__).parents[2] / ".artifacts"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SERIOUS = ("serious", "critical")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on this machine; `apt-get install chromium` brings one"
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENVELOPE_HOME", str(tmp_path_factory.mktemp("browser")))
        patch.setenv("ENVELOPE_ACTOR", "ann")
        yield fill()
    disconnect()


@pytest.fixture(scope="module")
def base(filled: Filled) -> Iterator[str]:
    (port,) = free_ports(1)
    options = options_for(me.get(filled.ids[2]), deployment=DEPLOYMENT)
    with served(options) as replica:
        settings = replace(filled.connection.settings, api_port=port, serve_port=replica.port)
        with serving(replace(filled.connection, settings=settings)) as served_on:
            assert served_on == port
            yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with (
        sync_playwright() as playwright,
        closing(
            playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        ) as chromium,
    ):
        yield chromium


@pytest.fixture
def page(browser: Browser, base: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that fails its test for anything that the console says; a screenshot is kept."""
    context = browser.new_context(base_url=base, viewport={"width": 1100, "height": 800})
    context.set_default_timeout(20_000)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: dialog.accept())
    yield page
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{request.node.name}.png", full_page=True)
    context.close()
    assert said == []


def test_search_compare_and_read_the_difference(page: Page) -> None:
    page.goto("/")
    expect(page).to_have_title("Models · Model Envelope")
    bar = page.get_by_role("combobox", name="Words, or a query")
    offered = page.locator("#completions option")
    expect(offered.first).to_have_attribute("value", "tags.canonical_name = 'client_ltv'")
    bar.fill("tags.region = 'US'")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(3)
    compare = page.get_by_role("button", name="Compare the two chosen")
    expect(compare).to_be_disabled()
    page.locator("input[name=id]").nth(0).check()
    page.locator("input[name=id]").nth(2).check()
    compare.click()
    expect(page.get_by_role("heading", name="Hyperparameters")).to_be_visible()
    row = page.get_by_role("region", name="Hyperparameters").locator("tbody tr")
    expect(row).to_have_text(["weight13"])


def test_a_broken_query_says_where(page: Page) -> None:
    page.goto("/models?q=tags.region =")
    expect(page.get_by_role("alert")).to_contain_text("column")


def test_a_model_and_its_tabs(page: Page, filled: Filled) -> None:
    page.goto(f"/models/{filled.ids[2]}")
    expect(page.get_by_role("row", name="age int64 20 to 59 no")).to_be_visible()
    expect(page.locator(".chart svg")).to_have_count(4)  # three columns and the output
    page.get_by_role("link", name="Environment").click()
    expect(page.locator("pre").first).to_contain_text("pandas==")
    page.get_by_label("About this model").get_by_role("link", name="Metrics").click()
    expect(page.locator(".chart svg")).to_have_count(3)  # the curve, the losses and the gain
    gain = page.locator("figure", has_text="deciles")
    expect(gain.locator(".chart svg")).to_contain_text("second")  # nobody registered its type here
    expect(gain.locator("details[title]")).to_have_count(0)  # nor gets it a menu of its own


def test_every_type_of_metric_is_shown_with_its_numbers(page: Page, filled: Filled) -> None:
    page.goto(f"/models/{filled.ids[0]}/metrics")
    expect(page.locator(".chart svg")).to_have_count(5)  # and the matrix and the histogram
    page.get_by_text("confusion as a table").click()
    table = page.get_by_role("region", name="confusion")
    expect(table.locator("tbody tr")).to_have_text(["no82", "yes19"])
    expect(page.get_by_role("img", name="Residuals rise with age")).to_have_js_property(
        "naturalWidth", 1
    )
    expect(page.get_by_text("All is well.")).to_be_visible()
    expect(page.get_by_role("region", name="segments").locator("tbody tr")).to_have_count(2)


def test_a_plot_that_somebody_logged_fetches_and_links_nothing(
    browser: Browser, base: str, filled: Filled
) -> None:
    encoding = {"x": {"field": "key", "type": "nominal"}, "href": {"field": "url"}}
    script = {"values": [{"key": "a", "url": "javascript:document.title='owned'"}]}
    elsewhere = {"values": [{"key": "a", "url": "https://elsewhere.example"}]}
    plots = {
        "fetched": {"mark": "bar", "data": {"url": "/api/v1/changes"}},
        "linked": {"mark": "bar", "encoding": encoding, "data": script},
        "led": {"mark": "bar", "encoding": encoding, "data": elsewhere},
    }
    points = {name: {"type": "own", "plot": plot} for name, plot in plots.items()}
    filled.connection.registry.log_metrics(filled.ids[1], points, actor="eve")
    context = browser.new_context(base_url=base)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"/models/{filled.ids[1]}/metrics")
    here, title = page.url, page.title()
    for name in ("linked", "led"):
        page.locator("figure", has_text=name).locator(".mark-rect.role-mark path").click()
    expect(page.locator(".chart svg")).to_have_count(6)
    assert (page.url, page.title()) == (here, title)
    assert not [url for url in asked if "/api/" in url or "elsewhere" in url]
    context.close()


def test_a_tag_is_set_and_removed(page: Page, filled: Filled) -> None:
    page.goto(f"/models/{filled.ids[3]}")
    page.get_by_role("textbox", name="Key").fill("passes_tests")
    page.get_by_role("textbox", name="Value").fill("true")
    page.get_by_role("button", name="Set").click()
    page.get_by_role("button", name="Remove passes_tests").click()
    expect(page.get_by_role("button", name="Remove region")).to_be_visible()
    expect(page.get_by_role("button", name="Remove passes_tests")).to_have_count(0)
    history = filled.connection.registry.tag_history(filled.ids[3])
    assert [one.new for one in history if one.key == "passes_tests"] == ["true", None]


def test_deploy_by_hand_then_unpin_and_roll_back(page: Page, filled: Filled) -> None:
    page.goto(f"/models/{filled.ids[3]}/online")
    page.get_by_role("combobox", name="Deployment").fill(DEPLOYMENT)
    page.get_by_role("button", name="Deploy").click()
    expect(page.get_by_text("pinned by ann").first).to_be_visible()
    page.get_by_role("button", name="Unpin").click()
    page.get_by_label("Reason").fill("wrong numbers")
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_text("(wrong numbers)")).to_be_visible()
    (excluded,) = filled.connection.registry.exclusions(DEPLOYMENT)
    assert excluded.envelope_id == filled.ids[2]
    page.get_by_role("button", name="Allow again").click()
    expect(page.get_by_text("(wrong numbers)")).to_have_count(0)


def test_a_rule_is_tried_before_it_is_made(page: Page) -> None:
    page.goto("/rules")
    page.get_by_role("textbox").fill("tags.region = 'UK'")
    page.get_by_role("button", name="Try").click()
    expect(page.get_by_role("heading", name="Matches now")).to_be_visible()
    expect(page.locator("pre").last).to_contain_text("deploy_to")


def test_a_rule_is_made_with_a_preview_while_one_types(page: Page, filled: Filled) -> None:
    page.goto("/rules")
    page.get_by_role("link", name="New rule").click()
    preview = page.get_by_role("region", name="Preview")
    page.get_by_label("name", exact=True).fill("uk")
    page.get_by_label("query").fill("tags.region =")
    expect(page.locator("[data-fault=query]")).to_contain_text("column 14")
    page.get_by_label("query").fill("tags.region = 'UK'")
    expect(page.locator("[data-fault=query]")).to_be_empty()
    page.get_by_label("deploy_to").fill(DEPLOYMENT)
    expect(preview).to_contain_text("Would have been wanted")
    expect(preview.get_by_role("link", name=filled.ids[3])).to_be_visible()
    expect(preview.locator("pre")).to_contain_text("query: tags.region = 'UK'")
    page.get_by_label("priority").fill("2")
    page.get_by_role("button", name="Create").click()
    page.get_by_role("button", name="Pause uk").click()
    page.get_by_role("button", name="Resume uk").click()
    page.get_by_role("link", name="Edit uk").click()
    page.get_by_label("priority").fill("4")
    page.keyboard.press("Enter")  # saves, as the first button of the form would
    expect(page.get_by_text("priority 4, version 4")).to_be_visible()
    found = {row.name: row for row in filled.connection.registry.rules()}
    assert (found["uk"].priority, found["uk"].paused) == (4, False)


def test_a_deployment_is_configured_by_a_form_with_its_yaml_beside_it(
    page: Page, filled: Filled
) -> None:
    page.goto(f"/deployments/{DEPLOYMENT}")
    page.get_by_role("link", name="Edit the configuration").click()
    shown = page.get_by_role("region", name="Preview").locator("pre")
    expect(shown).to_contain_text("auc >= 0.5")
    page.locator("[name=timeout_s]").fill("1,5")
    expect(page.locator("[data-fault=timeout_s]")).to_have_text(
        "write a number, with a point for decimals"
    )
    page.locator("[name=timeout_s]").fill("1.5")
    expect(shown).to_contain_text("timeout_s: 1.5")
    page.get_by_label("strategy").select_option("canary")
    expect(page.locator("[data-fault=rollout]")).to_contain_text("`canary` needs `steps`")
    first = page.get_by_role("group", name="rollout.steps 1")
    first.get_by_label("share").fill("5")
    first.get_by_label("minutes").fill("10")
    page.get_by_role("button", name="Add another to rollout.steps").click()
    second = page.get_by_role("group", name="rollout.steps 2")
    second.get_by_label("share").fill("50")
    second.get_by_label("requests").fill("1000")
    page.locator("[name=timeout_s]").press("Enter")
    expect(page.locator("pre").last).to_contain_text("requests: 1000")
    (row,) = filled.connection.registry.deployments()
    assert (row.config.timeout_s, len(row.config.rollout.steps)) == (1.5, 2)


def test_a_live_model_is_tried_with_its_sample_and_what_does_not_fit(
    page: Page, filled: Filled
) -> None:
    page.goto(f"/models/{filled.ids[2]}/online")
    expect(page.get_by_label("age")).to_have_value("20")
    page.get_by_label("income").fill("10")
    page.get_by_label("income").press("Enter")
    answer = page.get_by_role("region", name="Answer")
    expect(answer.locator("pre")).to_have_text("30.0")
    expect(answer.get_by_role("status")).to_contain_text(" ms, answered by")
    expect(answer.get_by_role("link", name=filled.ids[2])).to_be_visible()
    page.get_by_label("age").fill("old")
    page.get_by_role("button", name=f"Ask {DEPLOYMENT}").click()
    expect(page.get_by_role("alert")).to_contain_text("The input does not fit the function")
    expect(page.get_by_text("expected int64, got str")).to_be_visible()
    expect(page.get_by_label("age")).to_have_value("old")


def test_metrics_are_drawn_and_split_by_a_tag(page: Page) -> None:
    page.goto("/metrics")
    page.get_by_label("Split by tag").fill("region")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".chart svg")).to_have_count(1)
    expect(page.locator(".chart svg")).to_contain_text("UK")


def test_a_metric_is_drawn_against_a_hyperparameter_and_a_dot_leads_to_its_model(
    page: Page, filled: Filled
) -> None:
    page.goto("/metrics")
    page.get_by_role("link", name="Against each other").click()
    expect(page.locator("#keys option").first).to_have_attribute("value", "metrics.auc")
    page.get_by_label("Across").fill("hyperparameters.weight")
    page.get_by_label("Up").fill("auc")
    page.get_by_label("Colour by tag").fill("region")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", name="metrics.auc against")).to_be_visible()
    dots = page.locator(".chart svg .mark-symbol.role-mark path")
    expect(dots).to_have_count(4)
    page.get_by_text("The same as a table").click()
    rows = page.get_by_role("region", name="Models").locator("tbody tr")
    expect(rows.first).to_contain_text("UK")
    dots.first.click()
    expect(page).to_have_url(re.compile(f"/models/({'|'.join(filled.ids)})$"))


def test_curves_of_chosen_models_are_on_one_plot(page: Page, filled: Filled) -> None:
    page.goto("/models")
    for number in (0, 1, 3):
        page.locator("input[name=id]").nth(number).check()
    page.get_by_role("button", name="Compare the metrics of those chosen").click()
    page.get_by_label("Metric", exact=True).fill("roc")
    page.get_by_label("Name by tag").fill("region")
    page.get_by_role("button", name="Show").click()
    chart = page.locator(".chart svg")
    expect(chart).to_have_count(1)
    labels = [f"{'UK' if n == 3 else 'US'} {filled.ids[n][-6:]}" for n in (3, 2, 0)]
    expect(chart.locator(".role-legend-label text")).to_have_text(labels)
    page.get_by_text(f"{labels[0]} as a table").click()
    rows = page.get_by_role("region", name=labels[0]).locator("tbody tr")
    expect(rows).to_have_text(["00", "0.20.9", "11"])
    page.get_by_label("Metric", exact=True).fill("gain")  # of a type that nobody registered here
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".chart svg")).to_have_count(1)
    expect(page.locator(".chart svg .role-legend-label text")).to_have_text(labels)


def test_forms_work_without_a_script(browser: Browser, base: str, filled: Filled) -> None:
    context = browser.new_context(base_url=base, java_script_enabled=False)
    page = context.new_page()
    page.goto("/forms/rule?name=us")
    page.get_by_label("query").fill("tags.region = 'UK'")
    page.get_by_label("priority").fill("high")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("region", name="Preview")).to_contain_text("Matches now")
    expect(page.locator("[data-fault=priority]")).to_have_text("write a whole number")
    expect(page.get_by_label("priority")).to_have_value("high")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Not saved")
    context.close()
    assert filled.connection.registry.state().rules["us"].query == "tags.region = 'US'"


def test_who_signs_in_sees_what_they_may_do_and_signs_out(
    browser: Browser, base: str, filled: Filled
) -> None:
    (port,) = free_ports(1)
    settings = replace(filled.connection.settings, api_port=port, auth="tokens")
    secret = filled.connection.registry.create_token("vic", "viewer", actor="ann").secret
    context = browser.new_context(base_url=f"http://127.0.0.1:{port}")
    page = context.new_page()
    with serving(replace(filled.connection, settings=settings)):
        page.goto("/rules")
        page.get_by_label("Token").fill(secret)
        page.get_by_label("Token").press("Enter")
        expect(page.get_by_text("vic, viewer")).to_be_visible()
        expect(page.get_by_role("heading", name="Rules")).to_be_visible()
        expect(page.get_by_role("link", name="New rule")).to_have_count(0)
        expect(page.get_by_role("button", name="Pause us")).to_have_count(0)
        found = Axe().run(page).response["violations"]
        assert [one["id"] for one in found if one["impact"] in SERIOUS] == []
        page.get_by_role("button", name="Sign out").click()
        page.go_back()
        expect(page.get_by_label("Token")).to_be_visible()  # nothing was kept
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_every_page_also_on_a_phone(
    browser: Browser, base: str, filled: Filled, scheme: str
) -> None:
    paths = [
        "/models",
        f"/models/{filled.ids[0]}",
        f"/models/{filled.ids[0]}/metrics",
        f"/models/{filled.ids[0]}/online",
        f"/models/{filled.ids[2]}/online",
        f"/models/{filled.ids[0]}/environment",
        f"/diff?id={filled.ids[0]}&id={filled.ids[3]}",
        "/deployments",
        f"/deployments/{DEPLOYMENT}",
        "/rules?q=tags.region = 'US'",
        "/forms/rule?name=us",
        f"/forms/deployment?name={DEPLOYMENT}",
        "/batch-jobs",
        "/forms/batch-job?query=tags.region = 'US'",
        "/metrics",
        "/metrics/scatter?x=hyperparameters.weight&y=auc",
        "/metrics/statistics",
        "/metrics/compare",
        "/metrics/compare?name=confusion",
        "/audit",
        "/nothing",
    ]
    context = browser.new_context(
        base_url=base, color_scheme=scheme, viewport={"width": 390, "height": 800}
    )
    page = context.new_page()
    faults = []
    for path in paths:
        page.goto(path)
        found = Axe().run(page).response["violations"]
        faults += [(path, one["id"], one["help"]) for one in found if one["impact"] in SERIOUS]
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            faults.append((path, "width", "the page is wider than a phone"))
    context.close()
    assert faults == []
