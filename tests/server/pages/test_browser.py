"""What the scripts do, in a real browser; skipped where there is none."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextvars import copy_context
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from PIL import Image

from anomalyvfm.data.roi_files import read_roi
from anomalyvfm.server.pages import language, router, routes
from anomalyvfm.server.pages.wording import word
from tests.server.pages.conftest import ENGINEER
from tests.server.pages.fake_station import FakeStation, model, part

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Served:
    """The pages and as much of the REST interface as the scripts need, over a station of lists."""

    def __init__(self) -> None:
        self.station = FakeStation([part(n, 6.0 if n % 2 else 0.2) for n in range(1, 9)])
        self.sent: list[tuple[str, str, Any, str | None]] = []
        self.refuse: dict[str, int] = {}
        self.signed_out = False
        self.app = FastAPI(openapi_url=None)
        self.app.middleware("http")(self._frame)
        self.app.add_api_route("/api/events", self._events)
        self.app.add_api_route("/api/{rest:path}", self._api, methods=["GET", "POST", "PUT", "DELETE"])
        self.app.include_router(router(self.station))  # type: ignore[arg-type]  # the same methods

    async def _frame(self, request: Request, answer: Any) -> Response:
        response: Response = await answer(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    def _events(self) -> Response:
        if self.signed_out:
            return Response('{"detail": "nobody"}', 401, media_type="application/problem+json")
        latest = part(9, 7.5, name="<b>new</b>.png")
        stream = f"event: inspection\nid: 9\ndata: {json.dumps(latest)}\n\n"
        return StreamingResponse(iter([stream]), media_type="text/event-stream")

    async def _api(self, request: Request, rest: str) -> Response:
        if self.signed_out:
            return Response('{"detail": "nobody"}', 401, media_type="application/problem+json")
        if request.method == "GET":
            if rest == "inspections":
                # As the station: there is no part 0 to come after.
                status = 422 if request.query_params.get("after") == "0" else 200
                return Response('{"items": []}', status, media_type="application/json")
            return Response(b"", 404)
        body = await request.body()
        said: Any = json.loads(body) if body.startswith(b"{") else None
        self.sent.append((request.method, rest, said, request.headers.get("x-csrf-token")))
        if self.refuse.get(rest):
            self.refuse[rest] -= 1
            return Response('{"detail": "wait"}', 429, {"Retry-After": "1"}, "application/problem+json")
        answer: Any = {}
        if rest.endswith("/reviews"):
            found = self.station.inspections.get(int(rest.split("/")[1]))
            found["label"], found["review_id"] = said["label"], 50 + found["id"]
            found["kind"] = said["kind"] or None
            found |= {"reviewed_by": "grace", "reviewed_at": found["at"]}
            action = "confirmed" if said.get("outline") else "none"
            answer = {"review": {"id": found["review_id"]}, "learning": {"action": action}}
        elif rest.endswith("/undo"):
            found = self.station.inspections.get(int(rest.split("/")[1]) - 50)
            found |= {"label": None, "review_id": None}
        elif rest == "judge":
            answer = part(20, 6.0)
        return Response(json.dumps(answer), media_type="application/json")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Served, str]]:
    monkeypatch.setattr(routes, "find_user", lambda request: ENGINEER)
    made, listening = Served(), socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(made.app, log_level="error"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield made, f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture
def page(browser: Any, served: tuple[Served, str]) -> Iterator[Any]:
    context = browser.new_context(base_url=served[1], viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
    yield opened
    context.close()
    assert not faults


def test_keys_answer_part_after_part_and_take_answers_back(page: Any, served: tuple[Served, str]) -> None:
    def shows(number: int) -> None:
        page.wait_for_selector(f".answers[data-inspection='{number}']")
        page.wait_for_load_state()

    page.goto("/review")
    shows(1)
    page.keyboard.press("2")
    shows(3)
    page.keyboard.press("1")
    shows(5)
    assert page.inner_text("#last p") == "part_0003.png: Good. Recorded."
    page.keyboard.press("u")
    shows(3)
    page.keyboard.press("u")
    shows(1)
    assert not page.is_visible("#last")
    assert [(path, said and said["label"], token) for _, path, said, token in served[0].sent] == [
        ("inspections/1/reviews", "defect", ENGINEER.csrf),
        ("inspections/3/reviews", "good", ENGINEER.csrf),
        ("reviews/53/undo", None, ENGINEER.csrf),
        ("reviews/51/undo", None, ENGINEER.csrf),
    ]


def test_a_kind_of_defect_is_chosen_by_key_click_and_text(page: Any, served: tuple[Served, str]) -> None:
    served[0].station.parts[1] |= {"label": "defect", "kind": "scratch"}
    page.goto("/review")
    page.keyboard.press("4")
    page.wait_for_selector(".answers[data-inspection='3']")
    page.wait_for_load_state()
    assert page.inner_text("#last p") == "part_0001.png: scratch. Recorded."
    page.fill("#kind", "dent 2")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answers[data-inspection='5']")
    page.wait_for_load_state()
    page.click('[data-kind="dent 2"]')
    page.wait_for_selector(".answers[data-inspection='7']")
    said = [(body["label"], body["kind"]) for _, _, body, _ in served[0].sent]
    assert said == [("defect", "scratch"), ("defect", "dent 2"), ("defect", "dent 2")]


def test_a_part_is_enlarged_by_wheel_moved_by_drag_and_keys_go_on(page: Any) -> None:
    page.goto("/inspections/3")
    width = "document.querySelector('.layers').getBoundingClientRect().width"
    before = page.evaluate(width)
    frame = page.locator(".stage").bounding_box()
    page.mouse.move(frame["x"] + frame["width"] / 4, frame["y"] + frame["height"] / 4)
    for _ in range(3):
        page.mouse.wheel(0, -200)
    assert page.evaluate(width) == pytest.approx(before * 2.718**1.5, rel=0.05)
    place = "[document.querySelector('.stage').scrollLeft, document.querySelector('.stage').scrollTop]"
    start = page.evaluate(place)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] / 4 - 30, frame["y"] + frame["height"] / 4 - 20)
    page.mouse.up()
    assert page.evaluate(place) == pytest.approx([start[0] + 30, start[1] + 20], abs=1.5)
    page.mouse.wheel(0, 5000)
    assert page.evaluate(width) == pytest.approx(before)
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/inspections/2")


def test_heat_map_follows_the_slider_and_the_key(page: Any) -> None:
    def opacity() -> str:
        return str(page.evaluate("() => document.querySelector('.heat').style.opacity"))

    page.goto("/inspections/1")
    assert opacity() == "0.6"
    page.fill("#heat-strength", "25")
    assert opacity() == "0.25"
    page.locator(".stage").focus()
    page.keyboard.press("m")
    assert opacity() == "0"
    page.keyboard.press("m")
    assert opacity() == "0.25"
    page.reload()
    assert opacity() == "0.25"  # kept from part to part
    page.keyboard.press("o")
    assert not page.is_visible(".outline")


def test_wall_shows_what_comes_without_reload_and_as_text(page: Any) -> None:
    page.goto("/wall")
    page.wait_for_selector(".latest.rejected >> text=<b>new</b>.png")
    assert page.inner_text("#count-parts") == "9"
    assert page.locator(".tile").count() == 8  # the eighth part has become the first tile
    assert page.locator(".tile").first.get_attribute("data-id") == "8"


def test_a_kiosk_is_the_verdict_alone_by_key_and_by_address(page: Any) -> None:
    page.goto("/wall")
    page.keyboard.press("k")
    page.wait_for_selector("body.kiosk")
    assert not page.is_visible(".tiles") and not page.is_visible(".bar")
    assert "kiosk=1" in page.url
    size = "getComputedStyle(document.querySelector('.latest-verdict')).fontSize"
    assert float(page.evaluate(f"parseFloat({size})")) >= 100
    page.reload()
    page.wait_for_selector("body.kiosk")
    page.keyboard.press("Escape")
    page.wait_for_selector("body:not(.kiosk)")
    assert "kiosk" not in page.url and page.is_visible(".bar")


def test_sound_is_asked_for_and_can_be_ended(page: Any) -> None:
    page.goto("/wall")
    for pressed in ("true", "false"):
        page.click("#sound")
        assert page.get_attribute("#sound", "aria-pressed") == pressed


def test_models_are_side_by_side_each_with_its_own_parts(page: Any, served: tuple[Served, str]) -> None:
    station = served[0].station
    station.models.all_models.append(model("lid", default=False))
    station.parts[-1]["model"] = "lid"
    page.goto("/wall?show=side")
    page.wait_for_selector('[data-lane="can"] .latest >> text=<b>new</b>.png')
    assert page.inner_text('[data-lane="lid"] .latest-name') == "part_0008.png"
    assert page.locator('[data-lane="lid"] .tile').count() == 0


def test_where_a_session_has_ended_the_wall_leads_to_the_sign_in(
    page: Any, served: tuple[Served, str]
) -> None:
    served[0].signed_out = True
    page.goto("/wall")
    page.wait_for_url("**/login?next=%2Fwall")


def test_an_empty_wall_asks_for_all_there_is(page: Any, served: tuple[Served, str]) -> None:
    served[0].station.parts.clear()
    with page.expect_response("**/api/inspections?*") as asked:
        page.goto("/wall")
    assert asked.value.ok
    page.wait_for_selector(".latest.rejected >> text=<b>new</b>.png")


def test_numbers_of_odd_places_go_with_the_outlines(page: Any) -> None:
    page.goto("/inspections/1")
    assert (page.text_content(".marks") or "").strip() == "1"
    page.keyboard.press("o")
    assert not page.is_visible(".marks")


def test_slider_tells_the_effect_before_saving(page: Any, served: tuple[Served, str]) -> None:
    page.goto("/models/can")
    assert page.is_disabled("#rate-save")
    page.focus("#rate")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#rate-text") == page.get_attribute("#rate", "aria-valuetext") == "1 in 67"
    assert not served[0].sent
    page.fill("#rate-why", "fewer misses")
    page.click("#rate-save")
    page.wait_for_load_state()
    page.wait_for_timeout(200)
    assert served[0].sent[0][:3] == (
        "PUT",
        "models/can/false-alarm-rate",
        {"rate": 0.015, "why": "fewer misses", "expected": 3},
    )


def test_a_slider_moved_before_the_script_came_can_be_saved(page: Any) -> None:
    def late(route: Any) -> None:
        page.focus("#rate")
        page.keyboard.press("ArrowRight")
        route.continue_()

    page.route("**/models.js*", late)
    page.goto("/models/can")
    assert page.inner_text("#rate-text") == "1 in 67"
    assert page.inner_text("#rate-change") != "as now" and page.is_enabled("#rate-save")


def test_upload_waits_for_a_busy_station(page: Any, served: tuple[Served, str]) -> None:
    served[0].refuse["judge"] = 1
    page.goto("/upload")
    page.set_input_files("#files", [{"name": "<i>.png", "mimeType": "image/png", "buffer": b"\x89PNG"}])
    page.wait_for_selector(".result .tag.rejected")
    assert page.inner_text(".result b") == "<i>.png"
    assert [path for _, path, _, _ in served[0].sent] == ["judge", "judge"]


def test_theme_changes_once_a_click_and_stays(page: Any) -> None:
    page.goto("/wall")
    page.click("#theme")
    assert page.get_attribute("html", "data-theme") == "dark"
    page.reload()
    assert page.get_attribute("html", "data-theme") == "dark"


def test_the_language_changes_at_the_foot_of_a_page_and_stays(page: Any) -> None:
    page.goto("/wall")
    page.select_option("#language", "de")
    page.wait_for_selector("html[lang=de-DE]")
    page.wait_for_selector(".latest.rejected >> text=<b>new</b>.png")  # what the script writes
    assert page.inner_text(".latest-verdict") == "Abgelehnt"
    assert page.inner_text(".latest-score") == "Score 7,50 · Grenzwert 2,50"
    page.goto("/models/can")
    page.focus("#rate")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#rate-text") == "1 von 67"
    page.select_option("#language", "ja")
    page.wait_for_selector("html[lang=ja-JP]")
    assert page.inner_text("#language option:checked") == "日本語"


def test_two_versions_are_chosen_and_stand_side_by_side(page: Any) -> None:
    page.goto("/models/can")
    page.click("a[href$='/compare']")
    heads = page.locator("thead th")
    assert heads.all_inner_texts()[1:] == ["Version 2", "Version 3 In use"]
    page.select_option("#left", "1")
    page.wait_for_url("**left=1**")
    assert heads.all_inner_texts()[1:] == ["Version 1", "Version 3 In use"]
    page.goto("/models/can/compare?right=1")
    assert heads.all_inner_texts()[1:] == ["Version 3 In use", "Version 1"], "the newest beside the first"


@pytest.mark.parametrize("spoken", ["en", "de", "ja"])
@pytest.mark.parametrize("width", [820, 1280, 1920])
def test_the_verdict_of_a_kiosk_is_never_cut_off(
    page: Any, served: tuple[Served, str], spoken: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.context.add_cookies([{"name": "language", "value": spoken, "url": served[1]}])
    page.goto("/wall?kiosk=1")
    page.wait_for_selector(f"html[lang^={spoken}]")
    page.wait_for_selector(".latest.rejected >> text=<b>new</b>.png")
    for said in copy_context().run(verdicts, spoken):
        page.eval_on_selector(".latest-verdict", f"(one) => {{ one.textContent = {json.dumps(said)}; }}")
        assert page.eval_on_selector(".latest-text", "(one) => one.scrollWidth <= one.clientWidth"), said


def verdicts(spoken: str) -> list[str]:
    language.speak(spoken, "")
    return [word(name) for name in ("rejected", "near", "passed")]


def dragged(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From one place of the drawing to another, each given as shares of its width and height."""
    box = page.locator("#shapes").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=4)
    page.mouse.up()


def drawn(page: Any, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(folder / "roi.json")
    return folder / "roi.json"


def test_a_region_of_interest_is_drawn_and_read_by_fit(page: Any, tmp_path: Path) -> None:
    Image.new("RGB", (400, 300), "gray").save(tmp_path / "part.png")
    page.goto("/roi")
    page.set_input_files("#image", tmp_path / "part.png")
    page.wait_for_selector("#drawing canvas")
    assert page.get_attribute("#save", "aria-disabled") == "true"
    dragged(page, (0.1, 0.1), (0.9, 0.8))
    page.select_option("#kind", "ignored")
    for place in ((0.5, 0.5), (0.6, 0.5), (0.6, 0.6), (0.5, 0.5)):
        dragged(page, place, place)
    page.select_option("#kind", "zone")
    dragged(page, (0.2, 0.2), (0.4, 0.4))
    page.fill(".shape:nth-child(3) .name", "weld")
    page.fill(".shape:nth-child(3) .level", "7.5")
    page.press(".shape:nth-child(3) .level", "Tab")
    roi = read_roi(drawn(page, tmp_path))
    assert roi.size == (300, 400)
    rows, columns = np.nonzero(roi.mask)
    found = [columns.min(), columns.max(), rows.min(), rows.max()]
    assert found == pytest.approx([40, 360, 30, 240], abs=2)
    assert roi.mask[100, 200] and not roi.mask[160, 220] and roi.mask[175, 205]
    assert [(zone.name, zone.level, zone.area) for zone in roi.zones] == [("weld", 7.5, None)]
    said = page.inner_text("#share")
    assert said.endswith("% of the image of 400 × 300 px counts")
    assert int(said.split("%")[0]) == pytest.approx(100 * roi.mask.mean(), abs=1)

    page.click(".shape:nth-child(3) .remove")
    page.click("#undo")
    assert page.input_value(".shape:nth-child(3) .name") == "weld"
    page.click(".shape:nth-child(1) .choose")
    dragged(page, (0.1, 0.1), (0.0, 0.0))  # a corner of the chosen shape
    changed = read_roi(drawn(page, tmp_path))
    assert changed.mask[12, 12] and changed.mask[160, 210] == roi.mask[160, 210]

    page.set_input_files("#drawn", tmp_path / "roi.json")
    page.wait_for_selector(".shape:nth-child(3) .choose[aria-pressed=false]")
    middle = "(one) => one.getContext('2d').getImageData(one.width / 2, one.height / 2, 1, 1).data[0]"
    assert page.eval_on_selector("#picture", middle) == 128, "the image stays under the drawing"

    page.reload()
    page.set_input_files("#drawn", tmp_path / "roi.json")
    page.wait_for_selector(".shape:nth-child(3)")
    again = read_roi(drawn(page, tmp_path))
    np.testing.assert_array_equal(again.mask, changed.mask)
    page.set_input_files("#drawn", tmp_path / "part.png")
    page.wait_for_selector("#problem >> text=part.png: no drawing")


def test_a_region_of_interest_is_drawn_by_keyboard(page: Any, tmp_path: Path) -> None:
    Image.new("RGB", (200, 200), "gray").save(tmp_path / "part.png")
    page.goto("/roi")
    page.set_input_files("#image", tmp_path / "part.png")
    page.focus("#drawing")
    for keys in (["Space"], ["Shift+ArrowRight"] * 4, ["Space"], ["Shift+ArrowDown"] * 4, ["Space", "Enter"]):
        for key in keys:
            page.keyboard.press(key)
    roi = read_roi(drawn(page, tmp_path))
    assert roi.mask[110, 130] and not roi.mask[130, 105] and not roi.mask[90, 90]


def test_a_defect_is_outlined_and_sent_with_its_kind(page: Any, served: tuple[Served, str]) -> None:
    given = BytesIO()
    Image.new("RGB", (200, 150), "gray").save(given, "JPEG")
    page.route(
        "**/preview.jpg", lambda route: route.fulfill(body=given.getvalue(), content_type="image/jpeg")
    )
    page.goto("/review?show=3")
    page.click("text=Outline the defect")
    page.wait_for_url("**/inspections/3/outline?lane=yes")
    page.wait_for_selector("#drawing canvas")
    assert page.is_disabled("#save")
    dragged(page, (0.25, 0.2), (0.5, 0.6))
    dragged(page, (0.7, 0.7), (0.9, 0.9))
    page.click(".shape:nth-child(2) .remove")
    page.fill("#defect-kind", " dent ")
    page.click("#save")
    page.wait_for_url("**/review")
    method, path, body, token = served[0].sent[-1]
    assert (method, path, body["label"], body["kind"]) == ("POST", "inspections/3/reviews", "defect", "dent")
    assert token
    ((first, _, third, _),) = body["outline"]
    found = served[0].station.inspections.get(3)
    wide, high = found["width"], found["height"]
    assert [*first, *third] == pytest.approx([wide / 4, high / 5, wide / 2, high * 0.6], abs=wide / 100)
    assert page.inner_text("#last p").endswith("dent. Learned.")


def test_an_outline_drawn_before_is_there_and_a_part_without_its_image_says_so(page: Any) -> None:
    given = BytesIO()
    Image.new("RGB", (200, 150), "gray").save(given, "JPEG")
    page.goto("/inspections/3")
    page.keyboard.press("2")
    page.wait_for_selector("[data-label=defect][aria-pressed=true]")
    page.wait_for_selector(".layers polygon.drawn")
    page.click("text=Outline the defect")
    page.wait_for_selector("#problem >> text=cannot be shown")
    page.route(
        "**/preview.jpg", lambda route: route.fulfill(body=given.getvalue(), content_type="image/jpeg")
    )
    page.reload()
    page.wait_for_selector(".shape >> text=outline 1, 3 corners")


def test_a_region_is_drawn_over_a_parts_image(page: Any, served: tuple[Served, str]) -> None:
    page.goto("/inspections/3")
    page.locator("details >> text=Details").click()
    page.click("text=Draw a region of interest")
    page.wait_for_url("**/roi?inspection=3")
    page.wait_for_selector("#problem >> text=cannot be shown")  # the pages alone keep no images
