"""The pages in a real browser, opened from the disk: sorting, filters, links, keyboard, phone, dark mode, many rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sample_rows import make_row
from site_samples import EVIL, gallery, history, site

from benchbench.leaderboard import write_leaderboard
from benchbench.report import Board, Contents, write_site
from benchbench.report.boards import MOST_ROWS

pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return site(tmp_path, history=history, gallery=gallery)


def visit(browser: Any, page: Path) -> None:
    browser.get(page.resolve().as_uri())


def wait(browser: Any, condition: str) -> Any:
    return WebDriverWait(browser, 20).until(lambda session: session.execute_script(f"return {condition}"))


def visit_again(browser: Any, address: str) -> None:
    """As a new page; chromedriver may return before a page with a fragment is there."""
    browser.get("about:blank")
    browser.get(address)
    wait(browser, "location.protocol !== 'about:' && document.readyState === 'complete'")


def methods(browser: Any) -> list[str]:
    """First column, as shown."""
    return [link.text for link in browser.find_elements(By.CSS_SELECTOR, "#board tbody th a")]


def heading(browser: Any, label: str) -> Any:
    return browser.find_element(By.XPATH, f"//table[@id='board']//thead//button[starts-with(., '{label}')]")


def sorting(button: Any) -> str:
    return str(button.find_element(By.XPATH, "..").get_attribute("aria-sort"))


def test_headings_sort_both_ways_with_missing_values_last(browser: Any, folder: Path) -> None:
    visit(browser, folder / "index.html")
    button = heading(browser, "Adversarial test accuracy")
    button.click()
    assert methods(browser) == ["AT", "AT", "Natural", "masked", "GR"]
    assert sorting(button) == "descending"
    button.click()
    assert methods(browser) == ["Natural", "AT", "AT", "masked", "GR"]
    assert sorting(button) == "ascending"
    assert sorting(heading(browser, "Dataset")) == "none"


def test_flagged_row_comes_after_the_others_by_what_its_attack_found_and_nowhere_else(
    browser: Any, folder: Path
) -> None:
    visit(browser, folder / "index.html")
    heading(browser, "Test Lipschitzness").click()
    assert methods(browser) == ["AT", "Natural", "masked", "GR", "AT"]  # its 1.0 would be first
    heading(browser, "Training method").click()
    assert methods(browser) == ["AT", "AT", "GR", "masked", "Natural"]


def test_search_and_choices_filter_and_the_count_says_so(browser: Any, folder: Path) -> None:
    visit(browser, folder / "index.html")
    Select(browser.find_element(By.NAME, "source")).select_by_visible_text("ours")
    assert browser.find_element(By.ID, "count").text == "4 of 5 rows"
    browser.find_element(By.NAME, "search").send_keys("zero-grad")
    assert methods(browser) == ["masked"]
    browser.find_element(By.NAME, "search").send_keys("x")
    assert browser.find_element(By.ID, "count").text == "0 of 5 rows"


def test_measures_that_no_row_has_which_the_filters_leave_are_hidden(browser: Any, tmp_path: Path) -> None:
    fit = make_row(cell_id="fit", model_id="fit", dataset="staircase", test_mse=0.3, gap=0.25)
    net = make_row(cell_id="net", model_id="net", test_accuracy=0.9, gap=0.01)
    visit(browser, site(tmp_path, net, fit) / "index.html")
    measures = ("Test accuracy", "Gap", "Test MSE", "MSE gap")

    def displayed() -> list[str]:
        return [label for label in measures if heading(browser, label).is_displayed()]

    chosen = Select(browser.find_element(By.NAME, "dataset"))
    assert displayed() == [*measures]
    chosen.select_by_visible_text("mnist")
    assert displayed() == ["Test accuracy", "Gap"]
    heads, cells = (
        [one.text for one in browser.find_elements(By.CSS_SELECTOR, f"#board {part} > *") if one.is_displayed()]
        for part in ("thead tr", "tbody tr")
    )
    assert len(heads) == len(cells)
    assert cells[[text.startswith("Gap") for text in heads].index(True)] == "1.00"
    chosen.select_by_visible_text("staircase")
    heading(browser, "Test MSE").click()
    chosen.select_by_visible_text("mnist")
    assert displayed() == ["Test accuracy", "Gap", "Test MSE"]  # which the rows are sorted by
    browser.find_element(By.NAME, "search").send_keys("nothing like it")
    assert displayed() == [*measures]


def ranked(browser: Any) -> list[str]:
    """Models of the ranked boards, as shown."""
    return [link.text for link in browser.find_elements(By.CSS_SELECTOR, ".ranked tbody a") if link.is_displayed()]


def test_address_keeps_search_choices_and_order_and_a_radius_is_found(browser: Any, tmp_path: Path) -> None:
    rows = [
        make_row(cell_id=f"c{i}", model_id=f"m{i}", defense=name, epsilon=epsilon, dataset=data, adv_test_accuracy=0.5)
        for i, (name, epsilon, data) in enumerate(
            (("a", 0.1, "mnist"), ("b", 0.125, "mnist"), ("c", 8 / 255, "cifar10"), ("d", 0.1, "cifar10"))
        )
    ]
    page = site(tmp_path, *rows) / "index.html"
    visit(browser, page)
    assert sorted(ranked(browser)) == ["a", "b", "c", "d"]
    search = browser.find_element(By.NAME, "search")
    for text, found in (("epsilon 0.1", ["a", "d"]), ("linf epsilon 8/255", ["c"]), ("epsilon", ["a", "b", "c", "d"])):
        search.clear()
        search.send_keys(text)
        assert sorted(methods(browser)) == found
        assert sorted(ranked(browser)) == found
    search.clear()
    search.send_keys("Epsilon 0.1")
    Select(browser.find_element(By.NAME, "dataset")).select_by_visible_text("cifar10")
    heading(browser, "Training method").click()
    kept = browser.current_url
    assert kept.endswith("#search=Epsilon+0.1&dataset=cifar10&rising=method")
    visit_again(browser, kept)
    assert methods(browser) == ranked(browser) == ["d"]
    assert browser.find_element(By.NAME, "search").get_attribute("value") == "Epsilon 0.1"
    assert sorting(heading(browser, "Training method")) == "ascending"
    browser.find_element(By.NAME, "search").send_keys("5")
    assert ranked(browser) == []
    assert browser.find_element(By.ID, "none").is_displayed()


def test_ranked_board_and_table_fit_a_laptop(browser: Any, folder: Path) -> None:
    browser.set_window_size(1366, 768)
    visit(browser, folder / "index.html")
    wide = "[...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth).length"
    assert browser.execute_script(f"return {wide}") == 0


def test_row_link_leads_to_configuration_and_back(browser: Any, folder: Path) -> None:
    visit(browser, folder / "index.html")
    browser.find_element(By.CSS_SELECTOR, "a[href='rows/cell-at.html']").click()
    assert browser.find_element(By.TAG_NAME, "h1").text == "AT on mnist, pgd-10"
    wait(browser, "document.querySelector('#training canvas') !== null")
    images = browser.find_elements(By.CSS_SELECTOR, ".gallery img")
    assert len(images) == 3
    assert all(image.get_attribute("naturalWidth") == "4" and image.get_attribute("alt") for image in images)
    browser.find_element(By.LINK_TEXT, "closer-look").click()
    assert browser.find_element(By.TAG_NAME, "h1").text == "closer-look"


def test_plots_are_drawn_without_any_network_request(browser: Any, folder: Path) -> None:
    browser.get_log("performance")
    visit(browser, folder / "index.html")
    wait(browser, "document.querySelectorAll('#lipschitz canvas, #tradeoff canvas, #epochs canvas').length === 3")
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requested = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert any(url.endswith("vega.js") for url in requested)
    assert all(url.startswith(("file:", "data:")) for url in requested)


def test_table_is_sorted_by_keyboard_alone(browser: Any, folder: Path) -> None:
    visit(browser, folder / "index.html")
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element.text.startswith("Test Lipschitzness"):
            break
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert methods(browser)[:3] == ["AT", "Natural", "masked"]


def test_everything_that_acts_has_a_name_and_every_table_headings(browser: Any, folder: Path) -> None:
    visit(browser, folder / "index.html")
    named = "e.textContent.trim() || e.labels?.length || e.getAttribute('aria-label')"
    acting = "[...document.querySelectorAll('a, button, input, select')]"
    assert browser.execute_script(f"return {acting}.filter((e) => !({named})).length") == 0
    assert browser.execute_script("return document.querySelectorAll('table:not(:has(th[scope=col]))').length") == 0
    assert browser.execute_script("return document.documentElement.lang") == "en"


@pytest.mark.parametrize("page", ["index.html", "rows/cell-at.html", "../index.html"])
def test_page_fits_a_phone(browser: Any, folder: Path, page: str) -> None:
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        visit(browser, folder / page)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_phone_shows_method_setting_and_accuracies_side_by_side(browser: Any, folder: Path) -> None:
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        visit(browser, folder / "index.html")
        first = browser.find_element(By.CSS_SELECTOR, "#board tbody tr")
        assert "mnist, cnn2, pgd-10, linf 0.1, ours, quick" in first.find_element(By.TAG_NAME, "th").text
        shown = [cell for cell in first.find_elements(By.TAG_NAME, "td") if cell.is_displayed()]
        assert shown[1].text.startswith("10.00")
        assert shown[1].location["x"] + shown[1].size["width"] <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_choices_below_the_plots_have_names(browser: Any, folder: Path) -> None:
    visit(browser, folder / "index.html")
    wait(browser, "document.querySelectorAll('.vega-bind select').length >= 3")
    unnamed = "[...document.querySelectorAll('.vega-bind select')].filter((e) => !e.labels?.length)"
    assert browser.execute_script(f"return {unnamed}.length") == 0


def test_dark_mode_is_dark_and_readable(browser: Any, folder: Path) -> None:
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    visit(browser, folder / "index.html")
    colours = browser.execute_script(
        "const s = getComputedStyle(document.body);"
        "return [s.color, s.backgroundColor].map((c) => c.match(/\\d+/g).map(Number))"
    )
    assert min(colours[0][:3]) > 200
    assert max(colours[1][:3]) < 60


def test_markup_in_a_leaderboard_does_nothing(browser: Any, tmp_path: Path) -> None:
    measures = {"test_accuracy": 0.5, "test_lipschitz": 1.0, "adv_test_accuracy": 0.5}
    folder = site(
        tmp_path,
        make_row(cell_id="evil", defense=EVIL, architecture=EVIL, **measures),
        make_row(cell_id="mate", model_id="mate", defense="natural", architecture=EVIL, **measures),
        make_row(cell_id="worse", dataset=EVIL, flags=(EVIL,), attack=EVIL, **measures),
        history=history,
    )
    for page in ("index.html", "rows/evil.html", "rows/worse.html", "../index.html"):
        visit(browser, folder / page)
        if page == "index.html":
            wait(browser, "document.querySelector('#lipschitz canvas') !== null")
            assert EVIL in methods(browser)
        assert browser.execute_script("return window.pwned ?? null") is None


@pytest.mark.slow
def test_as_many_rows_as_a_page_takes_are_painted_within_two_seconds_and_stay_usable(
    browser: Any, tmp_path: Path
) -> None:
    rows = [
        make_row(
            cell_id=f"c{i:05d}",
            model_id=f"m{i}",
            defense=f"defense-{i % 37}",
            seed=i,
            test_accuracy=0.9,
            adv_test_accuracy=i / MOST_ROWS,
            test_lipschitz=1.0 + i % 50,
        )
        for i in range(MOST_ROWS)
    ]
    visit(browser, site(tmp_path, *rows) / "index.html")
    wait(browser, "performance.getEntriesByName('first-contentful-paint').length > 0")
    painted = browser.execute_script("return performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert painted < 2000
    wait(browser, "document.querySelector('#lipschitz canvas') !== null")
    took = browser.execute_script(
        "const began = performance.now();"
        "document.querySelectorAll('#board thead button')[8].click();"
        "return performance.now() - began"
    )
    assert took < 1000
    assert browser.find_element(By.ID, "count").text == f"{MOST_ROWS} of {MOST_ROWS} rows, rows 1 to 100 shown"
    browser.find_element(By.NAME, "search").send_keys("defense-36")
    assert browser.find_element(By.ID, "count").text.startswith(f"{MOST_ROWS // 37} of {MOST_ROWS} rows")


@pytest.mark.exhaustive
def test_a_larger_board_is_filtered_by_its_index_ranks_and_all_and_read_page_by_page(
    browser: Any, tmp_path: Path
) -> None:
    rows = [
        make_row(
            cell_id=f"{i:016x}",
            model_id=f"m{i}",
            defense=f"defense-{i // 1000}",
            seed=i,
            epsilon=0.1 if i < 1000 else 0.2,
            architecture="cnn1" if i < 2000 else "cnn2",
            adv_test_accuracy=i / 4000,
        )
        for i in range(2 * MOST_ROWS)
    ]
    path = tmp_path / "closer-look.parquet"
    write_leaderboard(path, rows)
    board = Board(path=path, rows=rows, detailed=[*rows[:2], *rows[-2:]])
    write_site(Contents(boards=(board,)), tmp_path / "site")
    visit(browser, tmp_path / "site" / "closer-look" / "index.html")
    links = browser.find_elements(By.CSS_SELECTOR, "#parts a[href*='page-']")
    shown = lambda: [link.text for link in links if link.is_displayed()]  # noqa: E731
    assert (len(links), ranked(browser)) == (4, ["defense-0", "defense-0", "defense-3", "defense-3"])
    search = browser.find_element(By.NAME, "search")
    for text, ranks, pages in (
        ("defense-0", 2, ["1 to 1,000"]),
        ("epsilon 0.1", 2, ["1 to 1,000"]),
        ("epsilon 0.3", 0, []),
    ):
        search.clear()
        search.send_keys(text)
        assert (len(ranked(browser)), shown()) == (ranks, pages)
    search.clear()
    search.send_keys("defense-2")
    Select(browser.find_element(By.NAME, "architecture")).select_by_visible_text("cnn2")
    assert browser.find_element(By.ID, "count").text == "1 of 4 pages"
    kept = browser.current_url
    assert kept.endswith("#search=defense-2&architecture=cnn2")
    visit_again(browser, kept)
    browser.find_element(By.LINK_TEXT, "2,001 to 3,000").click()
    wait(browser, "document.querySelectorAll('#board tbody tr').length > 0")
    assert browser.find_element(By.NAME, "search").get_attribute("value") == "defense-2"
    assert browser.find_element(By.ID, "count").text.startswith("1000 of 1000 rows")
    assert "defense-1" not in browser.find_element(By.ID, "board").text


def test_board_is_printed_whole_with_all_columns_on_the_paper(browser: Any, tmp_path: Path) -> None:
    rows = [make_row(cell_id=f"c{i}", model_id=f"m{i}", defense=f"d{i}", adv_test_accuracy=i / 200) for i in range(150)]
    visit(browser, site(tmp_path, *rows) / "index.html")
    assert len(methods(browser)) == 100
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert len(methods(browser)) == 150
    assert browser.find_element(By.ID, "count").text == "150 of 150 rows"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    paper = {"width": 1046, "height": 700, "deviceScaleFactor": 1, "mobile": False}  # A4 on its side, margins of 1 cm
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    try:
        assert browser.execute_script("return document.getElementById('board').scrollWidth") <= 1046
        assert not browser.find_element(By.ID, "filters").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert len(methods(browser)) == 100
