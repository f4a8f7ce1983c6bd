"""Addresses of the pages: each as a page, and under the same name with .json as its data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from sqlalchemy.exc import SQLAlchemyError

from anomalyvfm.errors import InputError
from anomalyvfm.server.auth.guard import User, find_user
from anomalyvfm.server.pages import language, views, wording
from anomalyvfm.server.pages.language import N_, _
from anomalyvfm.server.pages.rendering import environment, static_files
from anomalyvfm.server.problems import Problem, as_problem
from anomalyvfm.version import __version__

if TYPE_CHECKING:
    from anomalyvfm.server.station import Station

# Address, template, title, tab it belongs to, and what it shows; {number} and {name} come from the address.
_PAGES: tuple[tuple[str, str, str, str, Callable[..., views.Data]], ...] = (
    ("/wall", "wall.html", N_("Wall"), "wall", views.wall),
    ("/review", "review.html", N_("Review"), "review", views.review),
    ("/inspections", "inspections.html", N_("Parts"), "inspections", views.inspections),
    ("/inspections/{number:int}", "inspection.html", N_("Part"), "inspections", views.inspection),
    (
        "/inspections/{number:int}/outline",
        "outline.html",
        N_("Outline of the defect"),
        "inspections",
        views.outline,
    ),
    ("/trends", "trends.html", N_("Trends"), "trends", views.trends),
    ("/models", "models.html", N_("Models"), "models", views.models),
    ("/models/{name}", "model.html", N_("Model"), "models", views.model),
    ("/models/{name}/compare", "compare.html", N_("Versions compared"), "models", views.compare),
    ("/upload", "upload.html", N_("Upload"), "upload", views.upload),
    ("/roi", "roi.html", N_("Region of interest"), "models", views.roi),
    ("/line", "line.html", N_("Line"), "", views.line),
    ("/report", "report.html", N_("Report"), "", views.report),
    ("/audit", "audit.html", N_("Log"), "", views.audit),
)
_TABS = {
    "wall": N_("Wall"),
    "review": N_("Review"),
    "inspections": N_("Parts"),
    "trends": N_("Trends"),
    "models": N_("Models"),
    "upload": N_("Upload"),
}
_EXPECTED = (Problem, InputError, SQLAlchemyError, OSError)


def router(station: Station, users: Callable[[], list[dict[str, Any]]] = list) -> APIRouter:
    """The pages over a station; they stay out of the OpenAPI document. ``users`` gives who may come in."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    def home() -> Response:
        return RedirectResponse("/wall", 303)

    @routes.get("/static/{name}")
    def static(name: str) -> Response:
        file = static_files()[1].get(name)
        if file is None:
            raise Problem(404, f"{name[:40]}: no such file")
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(file.content, media_type=file.media_type, headers=headers)

    @routes.get("/login")
    def login(request: Request) -> Response:
        _speak(request)
        return _draw(
            request,
            "login.html",
            _shell(station, request, None, N_("Sign in")),
            views.login(request.query_params),
        )

    def listed(station: Station, user: User, query: views.Query) -> views.Data:
        views.check_admin(user)
        return {"items": users()}

    for path, template, title, tab, view in (*_PAGES, ("/users", "users.html", N_("Users"), "", listed)):
        # The address that ends in .json first: a model's name may hold a dot.
        routes.get(f"{path}.json")(_data_route(station, view))
        routes.get(path)(_page_route(station, view, template, title, tab))
    return routes


def _data_route(station: Station, view: Callable[..., views.Data]) -> Callable[[Request], Response]:
    def data(request: Request) -> Response:
        user = find_user(request)
        if user is None:
            raise Problem(401, "nobody is signed in; send Authorization: Bearer TOKEN")
        _speak(request)
        return JSONResponse(view(station, user, request.query_params, **request.path_params))

    return data


def _page_route(
    station: Station, view: Callable[..., views.Data], template: str, title: str, tab: str
) -> Callable[[Request], Response]:
    def page(request: Request) -> Response:
        user = find_user(request)
        if user is None:
            address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?{urlencode({'next': address})}", 303)
        _speak(request)
        shell = _shell(station, request, user, title, tab)
        try:
            data = view(station, user, request.query_params, **request.path_params)
            waiting = data.get("waiting")
            shell["tabs"] = _tabs(
                tab, station.inspections.review_queue(limit=1)["waiting"] if waiting is None else waiting
            )
        except _EXPECTED as error:
            problem = as_problem(error)
            title_of_problem = wording.problems().get(problem.status, _("Error"))
            shell |= {"title": title_of_problem, "tabs": _tabs(tab, 0)}
            shown = problem.as_dict() | {"title": shell["title"]}
            return _draw(request, "error.html", shell, shown, problem.status)
        return _draw(request, template, shell, data)

    return page


def _speak(request: Request) -> None:
    """Chooses the language of what this request is answered with."""
    language.speak(request.cookies.get("language", ""), request.headers.get("accept-language", ""))


def _shell(
    station: Station, request: Request, user: User | None, title: str, tab: str = ""
) -> dict[str, Any]:
    """What is around every page: who is signed in, where one is, how it looks."""
    theme = request.cookies.get("theme", "")
    query = f"?{request.url.query}" if request.url.query else ""
    return {
        "title": _(title),
        "language": language.tag(),
        "languages": language.LANGUAGES,
        "words": {"words": language.script_words(language.locale().language), "problems": wording.problems()},
        "user": user,
        "csrf": user.csrf if user else "",
        "can_sign_out": bool(user and user.csrf),
        "may_change": bool(user and user.may("engineer")),
        "is_admin": bool(user and user.may("admin")),
        "may_export": bool(user and user.may("engineer")),
        "theme": theme if theme in ("light", "dark") else "",
        "json_url": f"{request.url.path}.json{query}" if user else "",
        "time_zone": station.zone.key,
        "version": __version__,
        "tabs": [],
    }


def _tabs(current: str, waiting: int) -> list[dict[str, Any]]:
    return [
        {
            "id": name,
            "name": _(text),
            "url": f"/{name}",
            "current": name == current,
            "badge": ("99+" if waiting > 99 else str(waiting)) if name == "review" and waiting else "",
            "badge_means": _("waiting"),
        }
        for name, text in _TABS.items()
    ]


def _draw(
    request: Request, template: str, shell: dict[str, Any], data: views.Data, status: int = 200
) -> HTMLResponse:
    html = environment().get_template(template).render(shell=shell, data=data)
    # Pages differ by who is signed in, and a part's page changes with its review.
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store"})
