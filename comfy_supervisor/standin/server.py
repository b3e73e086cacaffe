"""Puts the parts together and serves them until SIGINT."""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
import threading

from aiohttp import web

from comfy_supervisor.standin import access, faults, file_api, info_api, jobs_api, prompt_api
from comfy_supervisor.standin.configuration import Configuration
from comfy_supervisor.standin.control import Control
from comfy_supervisor.standin.events import Events
from comfy_supervisor.standin.executor import Executor
from comfy_supervisor.standin.fault_nodes import fault_nodes
from comfy_supervisor.standin.image_nodes import image_nodes
from comfy_supervisor.standin.prompt_queue import PromptQueue
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
        temp.mkdir(parents=True, exist_ok=True)
        loop.run_until_complete(_run(standin))
    except KeyboardInterrupt:
        _log.info("\nStopped server")
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _standin(configuration: Configuration, loop: asyncio.AbstractEventLoop) -> Standin:
    """Make the parts, and start the worker."""
    types = {kind.name: kind for kind in [*image_nodes(configuration.release), *fault_nodes()]}
    control, events = Control(), Events(loop)
    queue = PromptQueue(events.queue_changed)
    events.remaining = queue.remaining
    executor = Executor(configuration, types, control, events)
    threading.Thread(target=prompt_worker, daemon=True, args=(queue, executor, events)).start()
    return Standin(configuration, types, control, queue, events)


async def _run(standin: Standin) -> None:
    """Listen on every address, and deliver events for ever."""
    configuration = standin.configuration
    runner = web.AppRunner(_application(standin), access_log=None)
    await runner.setup()
    if not configuration.quiet:
        _log.info("Starting server\n")
    for address in configuration.addresses:
        await _listen(runner, address, configuration)
    await standin.events.deliver()


async def _listen(runner: web.AppRunner, address: str, configuration: Configuration) -> None:
    try:
        await web.TCPSite(runner, address, configuration.port).start()
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
        _log.info("To see the GUI go to: http://%s:%d", shown, configuration.port)


def _application(standin: Standin) -> web.Application:
    """Return the routes, each with and without the prefix ``/api`` but for those that have it in their name."""
    configuration = standin.configuration
    application = web.Application(
        client_max_size=round(configuration.max_upload_mib * 1024**2),
        middlewares=[faults.misanswer, access.control(configuration.cors_origin)],
    )
    application[STANDIN] = standin
    routes = (*prompt_api.ROUTES, *file_api.ROUTES, *info_api.ROUTES, web.get("/ws", standin.events.connect))
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
