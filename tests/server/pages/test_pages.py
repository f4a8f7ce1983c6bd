"""Every page in every state, its data as JSON, and what must never be in it."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from anomalyvfm.server.auth.guard import User
from tests.server.pages.conftest import ENGINEER, OPERATOR, Open
from tests.server.pages.fake_station import LIMIT, FakeCatalogue, FakeStation, model, part, version
from tests.server.pages.markup import Element, read

PAGES = (
    "/wall",
    "/review",
    "/inspections",
    "/trends",
    "/models",
    "/models/can",
    "/models/can/compare",
    "/upload",
    "/roi",
    "/line",
    "/report",
    "/inspections/1/outline",
)
HOSTILE = "\"><img src=x onerror=alert(1)>'</script><script>alert(2)</script>{{7*7}}.png"


def many() -> FakeStation:
    """Two hundred parts, every tenth rejected, some reviewed, two models, an alarm."""
    parts = [part(n, 6.2 if n % 10 == 0 else 0.1 * (n % 9)) for n in range(1, 201)]
    parts[9] |= {"label": "defect", "reviewed_by": "ada", "reviewed_at": parts[9]["at"], "review_id": 4}
    station = FakeStation(parts, [model(), model("vial", default=False)])
    station.drift = {"alarm": True, "kind": "risen", "since": parts[0]["at"], "statistic": 20.0}
    return station


def _runs(element: Element) -> bool:
    """Whether a browser would run it; what is marked as data it does not."""
    return element.tag == "script" and element.attributes["type"] != "application/json"


STATIONS = {
    "no models": lambda: FakeStation([], []),
    "no parts": lambda: FakeStation(),
    "one part": lambda: FakeStation([part(1)]),
    "one rejected": lambda: FakeStation([part(1, 7.0)]),
    "many": many,
}
CASES = [
    (state, path)
    for state in STATIONS
    for path in (*PAGES, "/inspections/1", "/inspections/10", "/login", "/review?show=1")
    if not (state == "no models" and "can" in path)
]


@pytest.mark.parametrize(("state", "path"), CASES)
def test_page_is_whole_and_has_nothing_a_strict_content_policy_would_block(
    state: str, path: str, open_pages: Open
) -> None:
    answer = open_pages(STATIONS[state]()).get(path)
    assert answer.status_code in (200, 404)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    elements = read(answer.text)
    for element in elements:
        assert element.tag != "style"
        assert "style" not in element.attributes, element
        assert not [name for name in element.attributes if name.startswith("on")], element
        if _runs(element):
            assert not element.text and element.attributes["src"].startswith("/static/")
        for name in ("src", "href", "action"):
            assert element.attributes.get(name, "/").startswith(("/", "#")), element  # nothing from elsewhere
    assert [element.tag for element in elements].count("h1") == 1
    assert [element.tag for element in elements].count("main") == 1


@pytest.mark.parametrize(("state", "path"), CASES)
def test_everything_an_operator_works_has_a_name(state: str, path: str, open_pages: Open) -> None:
    elements = read(open_pages(STATIONS[state]()).get(path).text)
    labelled = {e.attributes["for"] for e in elements if e.tag == "label" and "for" in e.attributes}
    ids = [e.attributes["id"] for e in elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    for element in elements:
        named = bool(element.text.strip()) or "aria-label" in element.attributes
        if element.tag in ("button", "a", "svg") and "aria-hidden" not in element.attributes:
            assert named, element
        if element.tag in ("input", "select"):
            hidden = element.attributes.get("type") == "hidden"
            assert hidden or element.attributes.get("id") in labelled or "label" in element.inside, element
        if element.tag == "img":
            assert "alt" in element.attributes, element
        for name in ("aria-labelledby", "aria-describedby"):
            assert element.attributes.get(name, ids[0]) in ids, element
    headings = [int(e.tag[1]) for e in elements if re.fullmatch("h[1-6]", e.tag)]
    assert headings[0] <= 2 and all(after - before <= 1 for before, after in pairwise(headings))


@pytest.mark.parametrize("path", [*PAGES, "/inspections/10"])
def test_every_page_has_its_data_as_json_under_the_same_name(path: str, open_pages: Open) -> None:
    client = open_pages(many())
    answer = client.get(f"{path}.json")
    assert answer.status_code == 200
    assert isinstance(answer.json(), dict) and answer.json()
    linked = [e.attributes["href"] for e in read(client.get(path).text) if e.text == "This page as JSON"]
    assert linked == [f"{path}.json"]
    assert "token-of-this-session" not in answer.text


def test_query_goes_along_to_the_json(open_pages: Open) -> None:
    client = open_pages(many())
    page = client.get("/inspections?verdict=rejected&name=part")
    assert 'href="/inspections.json?verdict=rejected&amp;name=part"' in page.text
    shown = client.get("/inspections.json?verdict=rejected&name=part").json()
    assert len(shown["items"]) == 20 and all(each["anomalous"] for each in shown["items"])


@pytest.mark.parametrize("path", [*PAGES, "/inspections/10", "/review?show=10"])
def test_hostile_names_stay_text(path: str, open_pages: Open) -> None:
    station = many()
    for each in station.parts:
        each |= {"name": HOSTILE, "by": HOSTILE}
    station.models.all_versions = [version(3, active=True, why=HOSTILE, by=HOSTILE)]
    elements = read(open_pages(station, User(HOSTILE, "engineer", "x")).get(path).text)
    assert not [e for e in elements if any(name.startswith("on") for name in e.attributes)]
    assert all(e.attributes.get("src", "").startswith("/static/") for e in elements if _runs(e))
    assert not [e for e in elements if e.attributes.get("src") == "x"]
    assert "49.png" not in "".join(e.text for e in elements if e.tag == "body")
    assert HOSTILE in "".join(e.text for e in elements if e.tag == "body")


def test_nobody_signed_in_is_led_to_the_sign_in_and_back(open_pages: Open) -> None:
    client = open_pages(many(), None)
    answer = client.get("/inspections?verdict=rejected")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=%2Finspections%3Fverdict%3Drejected"
    form = next(e for e in read(client.get(answer.headers["location"]).text) if e.tag == "form")
    assert form.attributes["data-next"] == "/inspections?verdict=rejected"
    assert form.attributes["method"] == "post"  # a token must not become part of an address
    assert client.get("/inspections.json").status_code == 401


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:x", "/\t/e"]
)
def test_sign_in_leads_to_no_other_site(path: str, open_pages: Open) -> None:
    answer = open_pages(many(), None).get("/login", params={"next": path})
    form = next(e for e in read(answer.text) if e.tag == "form")
    assert form.attributes["data-next"] == "/wall"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/inspections/999", 404, "inspection 999"),
        ("/models/none", 404, "model none"),
        ("/inspections?before=x", 422, "before=x"),
        ("/inspections?before=99999999999999999999999", 422, "before="),
        ("/inspections?since=2026-13-01", 422, "since=2026-13-01"),
        ("/inspections?until=9999-12-31", 422, "until="),
        ("/inspections?verdict=odd", 422, "verdict=odd"),
        ("/trends?span=year", 422, "span=year"),
        ("/report?since=yesterday", 422, "since=yesterday"),
        ("/wall?model=<b>", 422, "model="),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line_with_its_status(
    path: str, status: int, said: str, open_pages: Open
) -> None:
    client = open_pages(many())
    page = client.get(path)
    assert page.status_code == status
    assert page.headers["content-type"].startswith("text/html")
    assert said in next(e for e in read(page.text) if e.tag == "main").text
    assert "<b>" not in page.text.replace("</b>", "").split("<main")[1]
    address, _, query = path.partition("?")
    data = client.get(f"{address}.json" + (f"?{query}" if query else ""))
    assert data.status_code == status
    assert data.headers["content-type"] == "application/problem+json"


def test_a_database_that_does_not_answer_gives_a_page(open_pages: Open) -> None:
    class Locked(FakeCatalogue):
        def all(self) -> list[dict[str, Any]]:
            raise OperationalError("SELECT", {}, Exception("database is locked"))

    station = FakeStation()
    station.models = Locked([], [])
    page = open_pages(station).get("/wall")
    assert page.status_code == 503
    assert "try again" in page.text and "SELECT" not in page.text


def test_operators_may_not_change_models_and_engineers_may(open_pages: Open) -> None:
    station = many()
    station.models.all_models.sort(key=lambda each: each["default"])
    for user, changes in ((OPERATOR, False), (ENGINEER, True)):
        client = open_pages(station, user)
        page = client.get("/models/can").text
        assert ("data-activate" in page) is changes
        assert ("rate-save" in page) is changes
        assert ("data-default" in client.get("/models").text) is changes
        assert ("/api/export" in client.get("/inspections").text) is changes


def test_token_of_the_session_is_where_scripts_find_it(open_pages: Open) -> None:
    elements = read(open_pages(many()).get("/review").text)
    token = next(e for e in elements if e.attributes.get("name") == "csrf-token")
    assert token.attributes["content"] == "token-of-this-session"


@pytest.mark.parametrize(
    ("cookie", "theme"), [("dark", "dark"), ("light", "light"), ('"><b>', None), (None, None)]
)
def test_theme_chosen_before_is_drawn_at_once(
    cookie: str | None, theme: str | None, open_pages: Open
) -> None:
    headers = {"cookie": f"theme={cookie}"} if cookie else {}
    elements = read(open_pages(many()).get("/wall", headers=headers).text)
    assert elements[0].attributes.get("data-theme") == theme


def test_review_shows_the_oldest_waiting_part_and_fetches_the_next_ahead(open_pages: Open) -> None:
    station = many()
    client = open_pages(station)
    data = client.get("/review.json").json()
    assert (data["part"]["id"], data["following"]["id"], data["waiting"]) == (20, 30, 19)
    assert 'rel="prefetch" href="/api/inspections/30/preview.jpg"' in client.get("/review").text
    shown = client.get("/review.json?show=10").json()  # as after an undo
    assert (shown["part"]["id"], shown["following"]["id"]) == (10, 20)


def test_each_odd_place_stands_beside_its_good_patch_with_what_is_odd_in_words(open_pages: Open) -> None:
    station = many()
    region = {
        "bbox": [10, 20, 60, 50],
        "area": 900,
        "peak": 9.1,
        "nearest": {"image": "041.png", "bbox": [0, 0, 50, 30], "distance": 0.714},
        "layers": {"5": 0.34, "6": 0.46, "4": 0.2},
        "sees": {"4": "patterns", "5": "parts", "6": "parts"},
    }
    told = next(part for part in station.parts if part["id"] == 10)
    told["regions"] = [region, {**region, "nearest": None}] + [region] * 9
    client = open_pages(station)
    elements = read(client.get("/inspections/10").text)
    shown = [e for e in elements if e.attributes.get("src", "").startswith("/api/inspections/10/regions/")]
    assert [e.attributes["src"].split("/")[-1] for e in shown] == [f"{k}.jpg" for k in (1, 3, 4, 5, 6, 7, 8)]
    assert "041.png" in shown[0].attributes["alt"]
    text = " ".join(next(e for e in elements if e.tag == "main").text.split())
    assert "11 odd places, the oddest 8 shown" in text
    assert "parts 80%, patterns 20%" in text and "Distance to the good patch:0.71" in text.replace(": ", ":")
    lane = read(client.get("/review?show=10").text)
    assert len([e for e in lane if "/regions/" in e.attributes.get("src", "")]) == 1, "the oddest two alone"


def test_a_place_of_a_model_without_reasons_has_no_picture(open_pages: Open) -> None:
    page = open_pages(many()).get("/inspections/10").text
    assert "1 odd place" in page and "/regions/" not in page and "What is odd" not in page


def test_pages_of_parts_follow_each_other_without_gap(open_pages: Open) -> None:
    client, seen = open_pages(many()), []
    address: str | None = "/inspections?model=can"
    while address:
        data = client.get(address.replace("/inspections?", "/inspections.json?")).json()
        seen += [each["id"] for each in data["items"]]
        address = data["next_url"]
    assert seen == list(range(200, 0, -1))


def test_neighbours_of_a_part(open_pages: Open) -> None:
    client = open_pages(many())
    for number, newer, older in ((1, 2, None), (10, 11, 9), (200, None, 199)):
        data = client.get(f"/inspections/{number}.json").json()
        assert (data["newer"], data["older"]) == (newer, older)


def test_slider_has_a_step_for_the_rate_in_force(open_pages: Open) -> None:
    data = open_pages(many()).get("/models/can.json").json()
    assert data["what_if"]["curve"][data["now_index"]]["rate"] == data["what_if"]["now"]["rate"]
    rejected = [step["rejected"] for step in data["what_if"]["curve"]]
    assert rejected == sorted(rejected)


def test_slider_and_versions_say_how_many_reviewed_defects_are_caught(open_pages: Open) -> None:
    parts = [
        part(number, score=number / 2, label="defect" if number > 6 else None) for number in range(1, 11)
    ]
    compared = {"now": 2, "then": 3, "defects": 4, "caught_now": 4, "caught_then": 1, "good": 5}
    compared |= {"passed_now": 3, "passed_then": 5}
    station = FakeStation(parts, [model(active=version(3, active=True, compared=compared))])
    station.models.all_versions = [version(3, active=True, compared=compared), version(2), version(1)]
    page = open_pages(station).get("/models/can")
    assert "4 reviewed defects" in page.text and 'id="rate-caught"' in page.text
    assert "fewer reviewed defects than version 2" in page.text
    assert "1 of 4" in page.text and "(4 by version 2)" in page.text
    assert "reviewed defects" not in open_pages(FakeStation([part(1)])).get("/models/can").text

    held = model(held_back=compared | {"then": 0, "moves_far": True})
    waiting = open_pages(FakeStation(parts, [held])).get("/models/can").text
    assert "waits for an engineer: of 4 reviewed defects it catches 1 instead of 4" in waiting
    assert "further than chance explains" in waiting


def test_an_admin_may_delete_what_is_not_the_default_and_an_engineer_take_versions_away(
    open_pages: Open,
) -> None:
    station = FakeStation(models=[model(default=False), model("lid")])
    admin = open_pages(station, User("root", "admin", "csrf")).get("/models/can").text
    assert 'id="delete"' in admin and 'href="/api/models/can/versions/3/export"' in admin
    assert 'id="delete"' not in open_pages(station, User("root", "admin", "csrf")).get("/models/lid").text
    engineer = open_pages(station, ENGINEER).get("/models/can").text
    assert 'id="delete"' not in engineer and "/versions/3/export" in engineer
    assert "/export" not in open_pages(station, OPERATOR).get("/models/can").text


def test_the_wall_tells_what_is_near_its_limit_of_which_model_and_how_the_last_parts_were(
    open_pages: Open,
) -> None:
    parts = [
        part(number, 6.0 if number > 70 else LIMIT - 0.2 if number > 65 else 0.2) for number in range(1, 81)
    ]
    parts[-1] |= {"model": "lid", "name": ""}
    client = open_pages(FakeStation(parts, [model("can"), model("lid", default=False)]))
    data = client.get("/wall.json").json()
    assert (data["last"]["inspections"], data["last"]["anomalous"]) == (50, 10)
    page = read(client.get("/wall").text)
    tiles = [e for e in page if e.tag == "li"]
    assert len(tiles) == 61, "sixty, and the one that others are made from"
    kinds = [e.attributes["class"].split()[1] for e in tiles[:-1]]
    assert kinds == ["rejected"] * 9 + ["near"] * 5 + ["passed"] * 46
    assert any(e.text == "Part 80" for e in page), "a part without a name has a number"
    shown = {e.text for e in page if "tile-model" in e.attributes.get("class", "")}
    assert shown == {"can", ""}

    side = client.get("/wall.json?show=side").json()
    assert [(lane["model"], len(lane["items"])) for lane in side["lanes"]] == [("can", 13), ("lid", 1)]
    one = open_pages(FakeStation(parts)).get("/wall.json?show=side").json()
    assert len(one["lanes"]) == 1


def test_alarm_is_on_the_wall_and_on_the_trends_page(open_pages: Open) -> None:
    client = open_pages(many())
    assert "Parts look odder" in client.get("/wall").text
    assert "Parts look odder" in client.get("/trends").text
    assert "No drift test yet" in open_pages(FakeStation([part(1)])).get("/trends").text


def test_pages_are_never_kept_by_a_browser(open_pages: Open) -> None:
    assert open_pages(many()).get("/wall").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("promised", "said"), [(True, False), (None, False), (False, True)])
def test_a_part_page_says_where_its_limit_is_an_estimate(
    promised: bool | None, said: bool, open_pages: Open
) -> None:
    page = open_pages(FakeStation([part(1, 7.0, promised=promised)])).get("/inspections/1").text
    assert ("an estimate: too few good parts to promise a rate" in page) == said


@pytest.mark.parametrize(("light", "said"), [(None, False), (0.2, False), (6.5, True)])
def test_a_part_page_says_where_its_light_is_odd(light: float | None, said: bool, open_pages: Open) -> None:
    page = open_pages(FakeStation([part(1, 7.0, light=light)])).get("/inspections/1").text
    assert ("<dt>Light</dt>" in page) == (light is not None)
    assert ("brightness, contrast or colour of the whole image is off" in page) == said


@pytest.mark.parametrize("held", [False, True])
def test_a_calibration_that_waits_is_told_with_its_figures(open_pages: Open, held: bool) -> None:
    figures = {"defects": 40, "caught_now": 37, "caught_then": 12, "good": 99}
    waiting = {**figures, "passed_now": 97, "passed_then": 99, "moves_far": False} if held else None
    page = open_pages(FakeStation(models=[model(held_back=waiting)])).get("/models/can").text
    told = (
        "of 40 reviewed defects it catches 12 instead of 37, and of 99 good parts it passes 99 instead of 97"
    )
    assert (told in page) == held
    assert ('href="/inspections?label=good&amp;model=can"' in page) == held
