"""The aiohttp application: the route table behind its middlewares, and the agents' door; no logic."""

import msgspec
from aiohttp import web

from collector.api.middleware import MAX_BODY_BYTES, Doorkeeper, problems
from collector.api.openapi import document
from collector.api.routing import Answer, Caller, Route
from collector.links.gateway import Gateway

LINK_PATH = "/v1/agent/link"
OPENAPI_PATH = "/v1/openapi.json"


def make_app(routes: list[Route], doorkeeper: Doorkeeper, gateway: Gateway, version: str) -> web.Application:
    """
    Return the application that serves these routes.

    Args:
        routes: The API; the OpenAPI document is made from them and added.
        doorkeeper: Checks who asks.
        gateway: Serves the agents' links.
        version: This program's.
    """
    app = web.Application(middlewares=[problems], client_max_size=MAX_BODY_BYTES)
    described = msgspec.json.encode(document(routes, version))

    async def openapi(_request: web.Request, _caller: Caller) -> Answer:
        return Answer(body=described)

    own = Route(method="GET", path=OPENAPI_PATH, handler=openapi, roles=None, summary="This document.")
    for route in (*routes, own):
        app.router.add_route(route.method, route.path, doorkeeper.serve(route))
    app.router.add_get(LINK_PATH, gateway.handle)
    return app
