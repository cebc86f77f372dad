"""Samples on the page: at the pinned step, one prompt through time, searched; a text that tries to run, or to hide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from tests.browser.conftest import remove
from tests.browser.pages import PATIENCE_SECONDS, Visit, until
from tests.e2e.stack import StackProcess

PATIENCE = PATIENCE_SECONDS * 1000


@pytest.fixture(scope="module")
def talk(stack: StackProcess) -> Iterator[str]:
    """A run that has logged samples, a table and histograms, and has completed."""
    configuration = {
        "name": "talk",
        "entrypoint": "talk.py:train",
        "working_directory": str(Path(__file__).parent),
        "snapshots": {"every_steps": 30},
    }
    name = stack.client.start_runtime(json.dumps(configuration)).name
    stack.wait_for_end(name)

    def rows() -> dict[str, int]:
        asked = metric_api.ListSampleSeriesRequest(parent=f"{name}/trials/1")
        return {one.key: one.row_count for one in stack.client.metrics.ListSampleSeries(asked).series}

    until(lambda: rows() == {"eval/samples": 30, "eval/table": 6, "weights": 60}, "all rows are stored")
    yield name
    remove(stack, name)


def test_samples_are_read_at_a_step_over_time_and_by_what_they_say(visit: Visit, talk: str) -> None:
    page = visit.open(f"/{talk}?tab=samples&rows=eval/samples")
    group = page.get_by_role("region", name="Group q-1")
    expect(group.locator(".sample")).to_have_count(4, timeout=PATIENCE)
    expect(group).to_contain_text("step 60")
    expect(group).to_contain_text("mean reward 0.85")

    # The slider pins the step, as a click on a chart does: the rows are those of the last step up to it that has any.
    slider = page.get_by_role("slider", name="Step")
    slider.fill("34")
    expect(page.get_by_test_id("sample-step")).to_have_text("34")
    expect(group).to_contain_text("step 30", timeout=PATIENCE)

    # Nothing of a text is markup, and what would reorder it is seen.
    hostile = page.locator(".sample", has_text="<script>")
    expect(hostile).to_contain_text("U+202Eevil")
    expect(hostile).to_contain_text("U+0000")
    expect(page.locator(".samples img, .samples script")).to_have_count(0)
    assert "owned" not in page.title()

    group.get_by_role("button", name="Over time").click()
    timeline = page.locator(".sample-timeline > li")
    expect(timeline).to_have_count(24, timeout=PATIENCE)
    expect(timeline.nth(13).locator("ins").first).to_have_text("the tens")
    page.get_by_role("button", name="All samples").click()
    expect(group).to_have_count(1, timeout=PATIENCE)

    page.get_by_role("searchbox", name="Search prompts and completions").fill("THE TENS: that is 42")
    expect(page.locator(".sample")).to_have_count(9, timeout=PATIENCE)
    page.get_by_role("combobox", name="Comparison of a score").fill("reward >= 0.95")
    expect(page.locator(".sample")).to_have_count(1, timeout=PATIENCE)
    expect(page.locator(".samples-list")).to_contain_text("step 60")
    page.get_by_role("combobox", name="Comparison of a score").fill("reward about 1")
    expect(page.locator(".problem")).to_contain_text("reward >= 0.5", timeout=PATIENCE)
    # The browser itself says that an answer was an error.
    visit.complaints[:] = [one for one in visit.complaints if "400" not in one]


def test_tables_and_histograms_have_their_own_views(visit: Visit, talk: str) -> None:
    page = visit.open(f"/{talk}?tab=samples&rows=eval/table")
    table = page.get_by_role("region", name="Table")
    expect(table.locator("tbody tr").first).to_have_text("a60", timeout=PATIENCE)
    expect(table).to_contain_text("bU+202E")
    page.get_by_role("combobox", name="Series").select_option("weights")
    heat = page.get_by_role("img", name="weights as a heat map: steps 1 to 60")
    expect(heat).to_be_visible(timeout=PATIENCE)
    heat.click(position={"x": 2, "y": 20})
    expect(page.get_by_test_id("sample-step")).to_have_text("1")
    darkness = """canvas => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
      return data.filter((_, i) => i % 4 === 3 && data[i] > 0).length
    }"""
    assert heat.evaluate(darkness) > 1_000
    assert page.locator(".ridge").count() >= 1
