"""What only a look from outside shows, so that it stands in the health listener's log; and what is no fault."""

from ..entry import ANYWHERE, Entry, Signature

ENTRIES = (
    Entry(
        "stalled",
        "transient",
        "A job ran and got nowhere: no progress, and its process did nothing. A node or the driver waits for "
        "something "
        "that never comes.",
        "The health listener asks the job to give up, then restarts ComfyUI (stall.after). If the same node stalls "
        "again, "
        "leave it out; one that waits for a person belongs into stall.patient_nodes. Plain ComfyUI: restart it.",
        "comfy-supervisor's health listener; ComfyUI issues 3131, 14396",
        (Signature("has made no step for ", places=ANYWHERE), Signature(" STALLED [", places=ANYWHERE)),
    ),
    Entry(
        "api_unresponsive",
        "transient",
        "ComfyUI's process lives, but its API did not answer for long: its event loop is blocked, or it never "
        "listened.",
        "The health listener restarts it once it does nothing either (health.quiet, health.patience). If it is a "
        "custom "
        "node that blocks, its stacks name it. Plain ComfyUI: restart it.",
        "comfy-supervisor's health listener; ComfyUI issue 12916",
        (
            Signature("its API has not answered for ", places=ANYWHERE),
            Signature("nobody has listened on its port for ", places=ANYWHERE),
            Signature("it has refused connections for ", places=ANYWHERE),
        ),
    ),
    Entry(
        "process_stopped",
        "transient",
        "Somebody stopped ComfyUI's process with a signal (SIGSTOP, or Ctrl-Z): it exists, and does nothing.",
        "kill -CONT its process, or let the health listener restart it (health.frozen). Planned pauses: "
        "comfy-supervisor pause, or maintenance on.",
        "signal(7): SIGSTOP, SIGTSTP; comfy-supervisor's health listener",
        (Signature("a signal stopped the process", places=ANYWHERE),),
        signals=(19, 20),
    ),
    Entry(
        "healthy",
        "none",
        "Nothing is wrong by this log. Warnings in it are harmless.",
        "Nothing to do.",
        "ComfyUI's own log of a life without a failure",
    ),
    Entry(
        "unknown",
        "none",
        "The log shows no failure that is known: {error}.",
        "Read the lines around the evidence. comfy-supervisor doctor looks at the machine, and "
        "comfy-supervisor logs -n 500 shows more. For plain ComfyUI: start it with --verbose DEBUG.",
        "none",
        words={"error": "it may tell more to a person"},
    ),
)
