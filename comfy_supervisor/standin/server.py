"""Puts the parts together and serves them until SIGINT."""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
import ssl
import threading

from aiohttp import web

from comfy_supervisor.standin import access, extensions, faults, file_api, info_api, jobs_api, nodes, prompt_api
from comfy_supervisor.standin.configuration import Configuration
from comfy_supervisor.standin.execution import Executor
from comfy_supervisor.standin.fault_nodes import fault_nodes
from comfy_supervisor.standin.image_nodes import image_nodes
from comfy_supervisor.standin.prompt_server import PromptServer
from comfy_supervisor.standin.release import JOBS_API, JOBS_CANCEL, PORT_IN_USE
from comfy_supervisor.standin.state import STANDIN, Standin
from comfy_supervisor.standin.worker import prompt_worker

_log = logging.getLogger(__name__)


def serve(configuration: Configuration) -> None:
    """Serve until SIGINT. Raises SystemExit(1) or OSError, as the release does, if the port is taken."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    temp = configuration.folders.temp
    shutil.rmtree(temp, ignore_errors=True)
    try:
        standin = _standin(configuration, loop)
        loop.run_until_complete(extensions.load(configuration.extensions))
        _start_worker(standin)
        temp.mkdir(parents=True, exist_ok=True)
        loop.run_until_complete(_run(standin))
    except KeyboardInterrupt:
        _log.info("\nStopped server")
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _standin(configuration: Configuration, loop: asyncio.AbstractEventLoop) -> Standin:
    """Make the parts."""
    types = {kind.name: kind for kind in [*image_nodes(configuration.release), *fault_nodes()]}
    server = PromptServer(loop)
    return Standin(configuration, types, nodes.control, server.prompt_queue, server)


def _start_worker(standin: Standin) -> None:
    executor = Executor(standin.configuration, standin.types, standin.control, standin.server)
    threading.Thread(target=prompt_worker, daemon=True, args=(standin.queue, executor)).start()


async def _run(standin: Standin) -> None:
    """Listen on every address, and deliver events for ever."""
    configuration = standin.configuration
    runner = web.AppRunner(_application(standin), access_log=None)
    await runner.setup()
    standin.runner = runner
    if not configuration.quiet:
        _log.info("Starting server\n")
    for address in configuration.addresses:
        await _listen(runner, address, configuration)
    await standin.server.deliver()


async def _listen(runner: web.AppRunner, address: str, configuration: Configuration) -> None:
    try:
        await web.TCPSite(runner, address, configuration.port, ssl_context=_tls(configuration)).start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not configuration.release.has(PORT_IN_USE):
            raise
        _log.error(
            "Port %d is already in use on address %s."
            " Please close the other application or use a different port with --port.",
            configuration.port,
            address,
        )
        raise SystemExit(1) from None
    if not configuration.quiet:
        shown = f"[{address}]" if ":" in address else address
        scheme = "https" if configuration.tls else "http"
        _log.info("To see the GUI go to: %s://%s:%d", scheme, shown, configuration.port)


def _tls(configuration: Configuration) -> ssl.SSLContext | None:
    if configuration.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*configuration.tls)
    return context


def _application(standin: Standin) -> web.Application:
    """Return the routes, each with and without the prefix ``/api`` but for those that have it in their name."""
    configuration = standin.configuration
    application = web.Application(
        client_max_size=round(configuration.max_upload_mib * 1024**2),
        middlewares=[faults.misanswer, access.control(configuration.cors_origin)],
    )
    application[STANDIN] = standin
    routes = (*prompt_api.ROUTES, *file_api.ROUTES, *info_api.ROUTES, web.get("/ws", standin.server.connect))
    application.add_routes(routes)
    application.add_routes(
        [web.RouteDef(route.method, f"/api{route.path}", route.handler, route.kwargs) for route in routes]
    )
    application.add_routes([faults.ROUTE])
    if configuration.release.has(JOBS_API):
        application.add_routes(jobs_api.ROUTES)
    if configuration.release.has(JOBS_CANCEL):
        application.add_routes(jobs_api.CANCEL_ROUTES)
    return application
