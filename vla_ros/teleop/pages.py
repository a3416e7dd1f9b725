"""The pages that browsers get from the port of the operators' WebSocket, given the token."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from vla_ros.core.resources import resource_path

if TYPE_CHECKING:
    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection

#: A page is one file; it loads nothing, talks to WebSockets alone (not every browser has them in
#: `'self'`), and is shown in no frame. Its address holds the token, so it is told to nobody.
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; connect-src 'self' ws: wss:; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A file that the server gives to browsers, so that a page and its socket are one address."""

    type: str
    body: bytes


def operator_pages() -> dict[str, Page]:
    """Return the page through which an operator moves the robot and records, by its path.

    Raises:
        UserError: if the installation lacks it.
    """
    body = resource_path("config/web/operator.html").read_bytes()
    return {"/": Page(type="text/html; charset=utf-8", body=body)}


def answer_request(
    connection: ServerConnection, request: Request, token: str, pages: Mapping[str, Page]
) -> Response | None:
    """Give a page to a browser; refuse a client without the token; None opens a WebSocket."""
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    address = urlsplit(request.path)
    given = parse_qs(address.query).get("token", [""])[-1]
    if not hmac.compare_digest(given.encode(), token.encode()):
        return connection.respond(HTTPStatus.FORBIDDEN, "the token is missing or wrong\n")
    if request.headers.get("Upgrade", "").lower() == "websocket":
        return None
    page = pages.get(address.path)
    if page is None:
        return connection.respond(HTTPStatus.NOT_FOUND, "operators connect by WebSocket\n")
    headers = Headers(
        {
            "Content-Type": page.type,
            "Content-Length": str(len(page.body)),
            "Connection": "close",
            **SECURITY,
        }
    )
    return Response(HTTPStatus.OK, "OK", headers, page.body)
