"""The pages operators work with: drawn on the server, each with its data as JSON under the same name."""

from anomalyvfm.server.pages.routes import router

__all__ = ["router"]
