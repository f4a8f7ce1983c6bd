"""An operator's day in headless Chromium, over a station of its own, with pictures of every step.

Signs in, uploads, watches a part come in, reviews by keys, takes a review back, moves the slider and saves,
goes back to an earlier version, signs out, and in again by PIN as an operator; then takes each page at
1920×1080, 1280×800 and on a tablet, light and dark, and in German and Japanese. Needs playwright and
chromium. Fails where a step does not do what it says, a script fails, something is asked of another server, a
page is wider than its window, or not in the browser's language.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Route, expect, sync_playwright

from tests.acceptance.station_process import Server

HALL = {"width": 1920, "height": 1080}
DESK = {"width": 1280, "height": 800}
TABLET = {"width": 820, "height": 1180}
_PAGES = ("wall", "wall?kiosk=1", "review", "inspections", "trends", "models", "upload", "users", "audit")
_LOOKS = (
    *(
        (size, kind, theme, "en-US")
        for size, kind in ((HALL, "hall"), (DESK, "desk"), (TABLET, "tablet"))
        for theme in ("light", "dark")
    ),
    (TABLET, "tablet-german", "light", "de-DE"),
    (DESK, "desk-japanese", "light", "ja-JP"),
)
_MOST_IMAGES = 24
# Nothing to click or to type in may be without a name, and nothing to click too small for a finger.
_UNNAMED = """() => [...document.querySelectorAll('a, button, input, select, summary')].filter((one) => {
  const box = one.getBoundingClientRect();
  if (!box.width || one.type === 'hidden') return false;
  const told = [one.textContent, one.getAttribute('aria-label'),
    ...[...one.labels || []].map((each) => each.textContent),
    ...[...one.querySelectorAll('img')].map((each) => each.alt)];
  return !told.some((each) => (each || '').trim());
}).map((one) => one.outerHTML)"""
_SMALL = """() => [...document.querySelectorAll('button, select, input:not([type=checkbox]), .button')]
  .filter((one) => { const box = one.getBoundingClientRect(); return box.height > 1 && box.height < 24; })
  .map((one) => one.outerHTML)"""
# Names of files may be cut off, words of the page not.
_WORDS = "h1, h2, dt, dd, th, label, button, .latest-text, .tile-verdict, .tag"
_CUT = f"""() => [...document.querySelectorAll('{_WORDS}')]
  .filter((one) => one.clientWidth > 1 && one.scrollWidth > one.clientWidth + 1 && !one.closest('.unseen'))
  .map((one) => one.outerHTML)"""


class Show:
    """The steps, one after another, and what was wrong with any."""

    def __init__(self, browser: Browser, url: str, token: str, pin: str, out: Path) -> None:
        self._browser = browser
        self._url = url
        self._token = token
        self._pin = pin
        self._out = out
        self.done: list[str] = []
        self.faults: list[str] = []

    @contextmanager
    def page(self, size: dict[str, int], theme: str, language: str = "en-US") -> Iterator[Page]:
        """A window of its own, signed in."""
        context = self._browser.new_context(
            base_url=self._url,
            viewport={"width": size["width"], "height": size["height"]},
            color_scheme="dark" if theme == "dark" else "light",
            has_touch=size is TABLET,
            locale=language,
        )
        context.route("**/*", self._at_home)
        opened = context.new_page()
        opened.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        opened.on("console", self._heard)
        opened.goto("/wall")
        opened.fill("#token", self._token)
        opened.keyboard.press("Enter")
        opened.wait_for_url("**/wall")
        yield opened
        context.close()

    def operate(self, images: list[Path]) -> None:
        with self.page(DESK, "light") as page:
            self.done.append("signed in")
            self._upload(page, images)
            self._watch(page, images[0])
            self._review(page)
            self._calibrate(page)
            page.click("#sign-out")
            page.wait_for_url("**/login")
            page.goto("/models")
            assert "/login" in page.url
            self.done.append("signed out")
            page.fill("#name", "ada")
            page.fill("#pin", self._pin)
            page.click("#by-pin button")
            page.wait_for_url("**/models")
            assert "ada · operator" in page.inner_text(".who")
            assert not page.locator("[data-default]").count()
            self.done.append("signed in by PIN as an operator")

    def look(self) -> None:
        """A picture of each page in each size, theme and language, and what none of them may lack."""
        for size, kind, theme, language in _LOOKS:
            with self.page(size, theme, language) as page:
                for name in (*_PAGES, *self._single(page), "login"):
                    page.goto(f"/{name}", wait_until="load" if name.startswith("wall") else "networkidle")
                    page.wait_for_timeout(400)
                    if page.get_attribute("html", "lang") != language:
                        self.faults.append(f"{kind} /{name}: not in {language}")
                    self._inspect(page, f"{kind} {theme} /{name}")
                    shown = name.replace("/", "-").partition("?")
                    picture = f"{kind}-{theme}-{shown[0]}{'-kiosk' if shown[2] else ''}.png"
                    page.screenshot(path=self._out / picture, full_page=True)
        self.done.append("every page in three sizes, two themes and three languages")

    def _upload(self, page: Page, images: list[Path]) -> None:
        page.goto("/upload")
        page.set_input_files("#files", images)
        expect(page.locator("#progress")).to_contain_text(f"{len(images)} of {len(images)}", timeout=120_000)
        rejected = page.locator(".result .tag.rejected").count()
        assert rejected > 1, "the images must hold defects"
        assert not page.locator(".result.failed").count()
        page.screenshot(path=self._out / "uploaded.png")
        self.done.append(f"uploaded {len(images)} images, {rejected} rejected")

    def _watch(self, page: Page, image: Path) -> None:
        page.goto("/wall")
        expect(page.locator("#live")).to_have_text("Live")
        judged = page.request.post(
            "/api/judge?name=live.png",
            data=image.read_bytes(),
            headers={
                "Content-Type": "application/octet-stream",
                "X-CSRF-Token": page.get_attribute("meta[name=csrf-token]", "content") or "",
            },
        )
        assert judged.ok, judged.text()
        expect(page.locator(".latest-name")).to_have_text("live.png")
        self.done.append("saw a part come in on the wall")

    def _review(self, page: Page) -> None:
        page.goto("/review")
        waiting = page.inner_text("#waiting")
        first = page.get_attribute(".answers", "data-inspection")
        exhibit = page.locator(".places img").first
        expect(exhibit).to_be_visible()
        exhibit.scroll_into_view_if_needed()
        page.wait_for_function("() => document.querySelector('.places img').naturalWidth > 0")
        page.keyboard.press("1")
        expect(page.locator("#last p")).to_contain_text("Learned.", timeout=30_000)
        assert page.get_attribute(".answers", "data-inspection") != first
        page.keyboard.press("2")
        expect(page.locator("#last p")).to_contain_text("Defect")
        page.keyboard.press("3")
        expect(page.locator("#last p")).to_contain_text("Unsure")
        page.screenshot(path=self._out / "reviewed.png")
        self.done.append("reviewed three parts by keys; the model has learned one")
        for _ in "321":
            shown = (
                page.get_attribute(".answers", "data-inspection") if page.query_selector(".answers") else ""
            )
            page.keyboard.press("u")
            page.wait_for_selector(f".answers:not([data-inspection='{shown}'])")
            page.wait_for_load_state()
        assert page.get_attribute(".answers", "data-inspection") == first
        assert page.inner_text("#waiting") == waiting
        self.done.append("took all three back")

    def _calibrate(self, page: Page) -> None:
        page.goto("/models")
        page.click(".model h2 a")
        model = page.locator("#model")
        before = int(model.get_attribute("data-active") or 0)
        rejected = page.inner_text("#rate-rejected")
        page.focus("#rate")
        for _ in range(20):
            page.keyboard.press("ArrowRight")
        assert page.inner_text("#rate-text") == "1 in 5"
        assert page.inner_text("#rate-rejected") != rejected
        page.screenshot(path=self._out / "slider.png")
        self.done.append(f"moved the slider: {page.inner_text('#rate-effect')}")
        page.fill("#rate-why", "fewer misses tonight")
        page.click("#rate-save")
        expect(model).to_have_attribute("data-active", str(before + 1))
        expect(page.locator("#done")).to_be_visible()
        self.done.append(f"saved it as version {before + 1}")
        page.fill("#why", "too many false alarms")
        page.click("[data-activate='1']")
        expect(model).to_have_attribute("data-active", "1")
        page.screenshot(path=self._out / "rolled-back.png")
        self.done.append("went back to version 1 by one click")

    def _single(self, page: Page) -> list[str]:
        """A part that was rejected, one that passed, a model, its versions, and a page that is not there."""
        found = []
        for anomalous in ("true", "false"):
            items = page.request.get(f"/api/inspections?anomalous={anomalous}&limit=1").json()["items"]
            found += [f"inspections/{items[0]['id']}"] if items else []
        model = page.request.get("/api/models").json()["items"][0]["name"]
        return [*found, f"models/{model}", f"models/{model}/compare", "inspections/999999"]

    def _inspect(self, page: Page, where: str) -> None:
        wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            self.faults.append(f"{where}: {wide} px wider than its window")
        self.faults += [f"{where}: without a name: {one}" for one in page.evaluate(_UNNAMED)]
        self.faults += [f"{where}: under 24 px: {one}" for one in page.evaluate(_SMALL)]
        self.faults += [f"{where}: cut off: {one}" for one in page.evaluate(_CUT)]

    def _at_home(self, route: Route) -> None:
        if not route.request.url.startswith((self._url, "data:", "blob:")):
            self.faults.append(f"asked elsewhere: {route.request.url}")
            route.abort()
        else:
            route.continue_()

    def _heard(self, message: ConsoleMessage) -> None:
        # A page that is not there is one of those looked at.
        if message.type in ("error", "warning") and "404" not in message.text:
            self.faults.append(f"console: {message.text} {message.location['url']}")


def run(model: Path, images: list[Path], out: Path) -> dict[str, Any]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory() as folder:
        tokens = str(Path(folder) / "tokens")
        made = [sys.executable, "-m", "anomalyvfm", "serve", "--token-file", tokens]
        token, pin = (
            subprocess.run([*made, *asked], check=True, capture_output=True, text=True).stdout.strip()
            for asked in (("--new-token", "grace:admin"), ("--new-pin", "ada"))
        )
        server = Server(Path(folder) / "station", model, "--token-file", tokens)
        try:
            with sync_playwright() as started:
                browser = started.chromium.launch(
                    executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
                )
                show = Show(browser, f"http://127.0.0.1:{server.port}", token, pin, out)
                try:
                    show.operate(images)
                    show.look()
                except (AssertionError, Error) as error:
                    show.faults.append(f"after '{show.done[-1]}': {error}")
                browser.close()
        finally:
            server.stop()
    return {"done": show.done, "faults": show.faults, "pictures": str(out), "kept": not show.faults}


def test_an_operator_works_a_day(
    usual: tuple[Path, Path], pytestconfig: pytest.Config, keeps: Callable[[dict[str, Any]], None]
) -> None:
    out = pytestconfig.getoption("--shots")
    out.mkdir(parents=True, exist_ok=True)
    model, folder = usual
    images = [path for path in sorted(folder.rglob("*.png")) if "ground_truth" not in path.parts]
    keeps(run(model, images[:: max(1, len(images) // _MOST_IMAGES)], out))
