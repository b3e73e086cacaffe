-- The journal of one instance's jobs: written by the extension within ComfyUI and by the health listener.
-- Times are seconds since the epoch. A job in nobody's queue waits to be submitted again.

CREATE TABLE lives (
    id      INTEGER PRIMARY KEY,      -- ascending: the highest is the one that runs, or ran last
    token   TEXT    NOT NULL UNIQUE,  -- ends in a slash and the process's image; heartbeat.json has it too
    boot    TEXT    NOT NULL,         -- the kernel's boot id
    pid     INTEGER NOT NULL,
    started REAL    NOT NULL,         -- the process's start, seconds since boot by the kernel's clock
    began   REAL    NOT NULL,
    witness TEXT    NOT NULL,         -- who follows it: extension, or listener
    cause   TEXT    NOT NULL DEFAULT '',  -- the cause's id, where the listener ended it
    guilt   TEXT                      -- what its end says of the job that ran: innocent, victim, suspect; NULL: not known
);

CREATE TABLE jobs (
    seq       INTEGER PRIMARY KEY,
    prompt_id TEXT    NOT NULL UNIQUE,
    number    REAL    NOT NULL,       -- its place in ComfyUI's queue: the lowest is next
    state     TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'deleted', 'quarantined')),
    life      INTEGER REFERENCES lives (id),  -- in whose queue it is, or was last; NULL: in nobody's
    secrets   TEXT    NOT NULL DEFAULT '',  -- names of the API keys that are not kept, separated by commas
    asked     TEXT    NOT NULL DEFAULT '',  -- who asked it to give up: user, or listener, with a + for
                                      -- each request under way; obeyed: it has, the listener
    waits     TEXT    NOT NULL DEFAULT '',  -- why it waits for an operator: old, never, asked_for; empty: it does not
    suspect   INTEGER NOT NULL DEFAULT 0,   -- deaths that it is suspected of
    victim    INTEGER NOT NULL DEFAULT 0,   -- deaths from outside while it ran
    note      TEXT    NOT NULL DEFAULT '',  -- why it is as it is
    accepted  REAL    NOT NULL,
    begun     REAL,                   -- its last run; NULL: there was none, or nobody saw it begin
    changed   REAL    NOT NULL
);

CREATE TABLE bodies (                 -- of jobs that have not ended; apart, so that their pages are used again
    seq  INTEGER PRIMARY KEY REFERENCES jobs (seq),
    body TEXT NOT NULL                -- {"prompt", "extra_data", "outputs"}
);

CREATE TRIGGER jobs_ended AFTER UPDATE OF state ON jobs WHEN new.state IN ('done', 'failed', 'deleted')
    BEGIN DELETE FROM bodies WHERE seq = new.seq; END;

CREATE INDEX jobs_unfinished ON jobs (state, number) WHERE state IN ('queued', 'running', 'quarantined');
CREATE INDEX jobs_finished ON jobs (state, changed) WHERE state IN ('done', 'failed', 'deleted');

PRAGMA user_version = 1;
