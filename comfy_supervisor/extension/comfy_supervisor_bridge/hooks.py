"""Where ComfyUI is listened to: what puts jobs into its queue, takes them, ends them, and tells of their progress.

Each hook calls what it stands before, whatever becomes of its own part.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from . import cuda
from .gate import LOOK, Gate
from .guard import guarded, say
from .journal import Journal
from .progress import Progress
from .rows import REPLAYED, Item, id_of, is_known

_NEEDED = ("mutex", "not_empty", "queue", "currently_running", "flags")
"""What the hooks look at in ComfyUI's PromptQueue."""
_QUEUE_HOOKS = ("put", "get", "task_done", "wipe_queue", "delete_queue_item")
"""In ComfyUI's PromptQueue; the journal needs each of them, and ``interrupt_processing``."""

Function = Callable[..., Any]
T = TypeVar("T")


@dataclass
class Hooks:
    """What is done at each of them."""

    journal: Journal
    progress: Progress
    gate: Gate
    queue: Any
    """ComfyUI's PromptQueue."""
    loop: Any = None
    """ComfyUI's event loop; None: it isn't known."""
    replayed: set[tuple[float, str]] = field(default_factory=set)
    known: bool = False
    """Whether a job of the form that is known was seen in this life."""
    left: bool = False
    """Whether this life's jobs are left to the listener: the first ones had another form than is known here."""
    passed_over: bool = False
    """Whether it was said that others are not written down."""

    @property
    def held(self) -> str:
        """Why no job is begun; empty: one may be."""
        return "ending" if self._is_ending() else self.gate.held

    def put(self, original: Function, queue: Any, item: Item, *arguments: Any, **named: Any) -> Any:
        """Write a job down, then queue it."""
        if self.left or guarded("form", lambda: not self._known([item])):
            return original(queue, item, *arguments, **named)
        if guarded("replay", lambda: self._is_repeated(item)):
            return None  # the listener, which got no answer, asks once more
        with queue.mutex:  # or stock might be taken in between, and the job found missing
            if self._noted("put", lambda: self.journal.accepted(item, again=_is_again(item))) is False:
                return None
            try:
                return original(queue, item, *arguments, **named)
            except BaseException:
                self._noted("put", lambda: self._refuse(queue, item))
                raise

    def get(self, original: Function, queue: Any, *arguments: Any, **named: Any) -> Any:
        """Take a job if one may be taken, and write that down."""
        self.progress.worker = threading.current_thread()
        timeout = arguments[0] if arguments else named.get("timeout")
        with queue.mutex:  # which is let go while there is nothing to take
            if timeout is not None and guarded("hold", lambda: self._waits(queue, timeout)):
                return None
            taken = original(queue, *arguments, **named)
            if taken is not None:
                guarded("progress", lambda: self.progress.job(id_of(taken[0]) or ""))
                self._noted("get", lambda: self._begin(taken[0]))
        return taken

    def task_done(self, original: Function, queue: Any, item_id: Any, *arguments: Any, **named: Any) -> Any:
        """Write down how a job ended, then have ComfyUI say so."""
        status = arguments[1] if len(arguments) > 1 else named.get("status")
        with queue.mutex:
            guarded("progress", lambda: self.progress.job(""))
            poisons = guarded("hold", lambda: self._poisons(status))
            self._noted("task_done", lambda: self._end(queue, item_id, status, poisons))
            return original(queue, item_id, *arguments, **named)

    def wipe_queue(self, original: Function, queue: Any, *arguments: Any, **named: Any) -> Any:
        """Delete all waiting jobs, and write that down."""
        return self._removing("wipe_queue", queue, lambda: original(queue, *arguments, **named))

    def delete_queue_item(self, original: Function, queue: Any, *arguments: Any, **named: Any) -> Any:
        """Delete a waiting job, and write that down."""
        return self._removing("delete_queue_item", queue, lambda: original(queue, *arguments, **named))

    def interrupt_processing(self, original: Function, *arguments: Any, **named: Any) -> Any:
        """Write down that the running job was asked to give up, then ask it."""
        if arguments[0] if arguments else named.get("value", True):
            self._noted("interrupt_processing", lambda: self.journal.asked(_ids(_running(self.queue))))
        return original(*arguments, **named)

    def execute(self, original: Function, *arguments: Any, **named: Any) -> Any:
        """Note which node is begun."""
        guarded("progress", lambda: self._node(arguments[1], arguments[3]))
        return original(*arguments, **named)

    def send_sync(self, original: Function, server: Any, *arguments: Any, **named: Any) -> Any:
        """Note how far the running node is."""
        guarded("progress", lambda: self.progress.event(arguments[0], arguments[1]))
        return original(server, *arguments, **named)

    def take_stock(self) -> None:
        """Write down all that is in the queue."""
        if not self.journal.open():
            return
        with self.queue.mutex:
            self._known([*_running(self.queue), *self.queue.queue])
            if not self.left:
                running, waiting = filter(is_known, _running(self.queue)), filter(is_known, self.queue.queue)
                self.journal.take_stock(list(running), list(waiting))

    def _known(self, items: Sequence[Any]) -> list[Item]:
        """Return the jobs of the form that is known; of others it is said, once, what becomes of them.

        Some node may put a job of its own form among others. Where the first ones have it, ComfyUI itself has changed:
        then all of this life's are left to the listener.
        """
        known = list(filter(is_known, items))
        with self.queue.mutex:
            self.known = self.known or bool(known)
            if len(known) < len(items):
                guarded("form", self._pass_over if self.known else self._leave)
        return known

    def _pass_over(self) -> None:
        if not self.passed_over:
            self.passed_over = True
            say("a job has a form that is not known here: such jobs are not written down, and lost at a restart")

    def _leave(self) -> None:
        if not self.left:
            self.left = True
            say(
                "this ComfyUI's jobs have a form that is not known here: they are not written down here, and the "
                "health listener looks at them from outside"
            )
            self.journal.hand_over()

    def _noted(self, hook: str, deed: Callable[[], T]) -> T | None:
        """Do a hook's part of the journal; if it fails, the journal has missed something, and stock is to be taken."""
        return None if self.left else guarded(f"journal, {hook}", deed, self.journal.miss)

    def _is_repeated(self, item: Item) -> bool:
        if not _is_again(item):
            return False
        submission = float(item[0]), str(item[1])
        repeated = submission in self.replayed
        self.replayed.add(submission)
        return repeated

    def _refuse(self, queue: Any, item: Item) -> None:
        """Write down that a job was not queued, if it was not: ComfyUI's own queue may fail after it has done so."""
        if item[1] in {*_waiting(queue), *_ids(_running(queue))}:
            return
        self.journal.refused(item[1], again=_is_again(item))
        self.replayed.discard((float(item[0]), str(item[1])))

    def _waits(self, queue: Any, timeout: float) -> bool:
        """Wait for a job as the queue itself does, and tell whether none may be taken.

        Beneath this, the queue finds one at once: it would hand out a job that comes in, whatever was said meanwhile.
        """
        with queue.not_empty:
            if not queue.queue and not queue.flags:
                queue.not_empty.wait(timeout)
            if queue.queue and self.held and not queue.flags:
                queue.not_empty.wait(min(LOOK, timeout))
            return not queue.queue or bool(self.held)

    def _is_ending(self) -> bool:
        """Tell whether ComfyUI is on its way out, its worker being the last to hear of it.

        Its server has stopped, its temporary folder is gone, and threads can't be had any more: what fails now has not
        been tried.
        """
        return not threading.main_thread().is_alive() or (self.loop is not None and not self.loop.is_running())

    def _begin(self, item: Any) -> None:
        if is_known(item):
            self.journal.taken(item)

    def _node(self, graph: Any, node: str) -> None:
        self.progress.node(str(node), str(graph.get_node(node).get("class_type", "")))

    def _poisons(self, status: Any) -> bool | None:
        """Hold the jobs back after an error that ruins the GPU; return whether it was the first. None: it is none."""
        if status is None or status.completed or self._is_ending():
            return None
        exception, message = _error(status)
        return self.gate.poison() if cuda.kind(exception, message) == "sticky" else None

    def _end(self, queue: Any, item_id: Any, status: Any, poisons: bool | None) -> None:
        item = queue.currently_running[item_id]
        if not is_known(item):
            return
        prompt_id = item[1]
        if prompt_id in _waiting(queue):
            self.journal.put_back(prompt_id, "")
            return  # somebody has submitted it twice, and it is to run once more
        if status is None or status.completed:
            self.journal.ended(prompt_id, "done")
        elif self._is_ending():
            return  # it goes on in the next life
        elif "execution_interrupted" in dict(status.messages):
            self.journal.gave_up(prompt_id)
        else:
            self._fail(prompt_id, _error(status)[1], poisons)

    def _fail(self, prompt_id: str, message: str, poisons: bool | None) -> None:
        """Write down that a job failed; one that a poisoned GPU failed has not been tried, and stays as it is."""
        note = message.strip().partition("\n")[0][:200]
        if poisons is None:
            self.journal.ended(prompt_id, "failed", note)
        elif poisons:
            self.journal.noted(prompt_id, note)
        else:
            self.journal.put_back(prompt_id, note)

    def _removing(self, hook: str, queue: Any, remove: Function) -> Any:
        """Remove waiting jobs, and write down which are gone."""
        with queue.mutex:
            before = self._noted(hook, lambda: _waiting(queue)) or set()
            result = remove()
            self._noted(hook, lambda: self.journal.removed(sorted(before - _waiting(queue))))
        return result


def _is_again(item: Item) -> bool:
    """Tell whether it is the listener that submits a job, which was there before."""
    return bool(item[0] <= REPLAYED)


def _error(status: Any) -> tuple[str, str]:
    """Return the name of the type of the exception that ended a job, and its message; empty: there was none."""
    error = dict(status.messages).get("execution_error", {})
    return str(error.get("exception_type", "")), str(error.get("exception_message", ""))


def _running(queue: Any) -> list[Item]:
    return list(queue.currently_running.values())


def _waiting(queue: Any) -> set[str]:
    return set(_ids(queue.queue))


def _ids(items: Iterable[Any]) -> list[str]:
    """Return the ids of those jobs that are written down."""
    return [item[1] for item in items if is_known(item)]


def install(hooks: Hooks, server: Any, execution: Any, nodes: Any) -> None:
    """Put the hooks in place. Raises AttributeError, and has none, where ComfyUI lacks one that the journal needs.

    With some of those alone it would speak of jobs that have long ended. Those of the progress go where they can.
    """
    _examine(hooks.queue)
    queue, prompt_server = type(hooks.queue), type(server.PromptServer.instance)
    _wrap(hooks, [*((queue, name) for name in _QUEUE_HOOKS), (nodes, "interrupt_processing")])
    for owner, name in ((prompt_server, "send_sync"), (execution, "execute")):
        guarded(name, functools.partial(_wrap, hooks, [(owner, name)]))


def _examine(queue: Any) -> None:
    """Raise AttributeError where ComfyUI's queue is not as the hooks need it.

    They hold its lock around what it does itself under that lock, so that it has to be one that can be taken again.
    """
    missing = [name for name in _NEEDED if not hasattr(queue, name)]
    if missing:
        raise AttributeError(f"this ComfyUI's PromptQueue has no {', '.join(missing)}")
    if not isinstance(queue.queue, Sequence) or not isinstance(queue.currently_running, Mapping):
        raise AttributeError("this ComfyUI's PromptQueue keeps its jobs otherwise")
    if (
        not isinstance(queue.mutex, type(threading.RLock()))
        or getattr(queue.not_empty, "_lock", None) is not queue.mutex
    ):
        raise AttributeError("this ComfyUI's PromptQueue has another lock")


def _wrap(hooks: Hooks, places: Iterable[tuple[Any, str]]) -> None:
    """Put hooks around functions, all or none; raises AttributeError where there is none, or it can't be replaced."""
    originals = [(owner, name, _function(owner, name)) for owner, name in places]
    for number, (owner, name, original) in enumerate(originals):
        try:
            setattr(owner, name, _hooked(original, getattr(hooks, name)))
        except (AttributeError, TypeError) as error:
            for each in originals[:number]:
                setattr(*each)
            raise AttributeError(f"this ComfyUI's {_named(owner)}.{name} can't be replaced: {error}") from error


def _function(owner: Any, name: str) -> Function:
    found = getattr(owner, name, None)
    if not callable(found):
        raise AttributeError(f"this ComfyUI's {_named(owner)} has no {name}")
    function: Function = found
    return function


def _named(owner: Any) -> str:
    return str(getattr(owner, "__name__", owner))


def _hooked(original: Function, hook: Function) -> Function:
    @functools.wraps(original)
    def hooked(*arguments: Any, **named: Any) -> Any:
        return hook(original, *arguments, **named)

    return hooked
