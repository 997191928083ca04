"""Reading over HTTP: lists and searches, one event, one stream, the live tail."""

from atp.query.api.events import QueryApi

__all__ = ["QueryApi"]
