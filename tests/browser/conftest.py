"""One real browser for all tests."""

import os
from collections.abc import Iterator

import pytest

from tests.browser.chromium import REQUIRED, Browser


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
