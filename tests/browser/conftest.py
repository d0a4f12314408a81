"""One real browser for all tests."""

import os
from collections.abc import Iterator

import pytest

from fastdup_ray.storage import Store
from tests.browser.chromium import REQUIRED, Browser
from tests.helpers.odd_report import make_odd, write_odd_report


@pytest.fixture(scope="session")
def _browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    pytest.importorskip("selenium") if os.environ.get(REQUIRED) != "required" else __import__("selenium")
    browser = Browser(tmp_path_factory.mktemp("downloads"))
    yield browser
    browser.close()


@pytest.fixture
def browser(_browser: Browser) -> Iterator[Browser]:
    """One for all tests; after each, nothing that a page or its script complained of."""
    yield _browser
    complaints = [entry for entry in _browser.logged("browser") if entry["level"] in ("SEVERE", "WARNING")]
    _browser.media()
    _browser.size(1400, 1000)
    assert complaints == []


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[str]]:
    """Store and paths of the run with hostile names."""
    return make_odd(tmp_path_factory.mktemp("odd"))


@pytest.fixture(scope="module")
def page(odd: tuple[Store, list[str]]):
    """The report on it."""
    return write_odd_report(odd[0])


@pytest.fixture
def opened(browser: Browser, page) -> Browser:
    browser.open(page)
    return browser
