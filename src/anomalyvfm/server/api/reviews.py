"""What people say of parts, and what models learn from it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from anomalyvfm.server.api.once import once
from anomalyvfm.server.api.shapes import Limit, ModelQuery, Number, Queue, Reviewed, ReviewRequest, clean
from anomalyvfm.server.auth.guard import Operator
from anomalyvfm.server.station import Station


def router(station: Station) -> APIRouter:
    routes = APIRouter(prefix="/api", tags=["review"], route_class=once(station.database))

    @routes.post("/inspections/{number}/reviews", response_model=Reviewed)
    def review(number: Number, body: ReviewRequest, user: Operator) -> dict[str, Any]:
        """Label a part. The answer comes when the model that learned from it judges."""
        return station.learning.review(
            number,
            body.label,
            user.name,
            clean(body.why),
            body.seen_review,
            clean(body.kind).strip(),
            body.outline,
        ).as_dict()

    @routes.post("/reviews/{number}/undo", response_model=Reviewed)
    def undo(number: Number, user: Operator) -> dict[str, Any]:
        """Take a review back, and what the model learned from it."""
        return station.learning.undo(number, user.name).as_dict()

    @routes.get("/review-queue", response_model=Queue)
    def queue(user: Operator, model: ModelQuery = None, limit: Limit = 20) -> dict[str, Any]:
        """The oldest parts that a person should see: anomalous ones, and a sample of all."""
        return station.inspections.review_queue(model, limit)

    return routes
