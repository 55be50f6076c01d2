-- Rollouts: what was asked for, how far each is, and everything that happened to it. Times are milliseconds since 1970.

CREATE TABLE rollouts (
    -- In the order in which they were begun.
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    id        TEXT    NOT NULL UNIQUE,
    model     TEXT    NOT NULL,
    incumbent INTEGER NOT NULL,
    candidate INTEGER NOT NULL,
    started   INTEGER NOT NULL,
    who       TEXT    NOT NULL,
    why       TEXT    NOT NULL,
    -- The format of `spec`, `tests`, `progress`, `measured` and of events, which are JSON.
    format    INTEGER NOT NULL,
    spec      TEXT    NOT NULL,
    tests     TEXT    NOT NULL,
    progress  TEXT    NOT NULL,
    -- What goes on from look to look; its maker's affair.
    measured  TEXT,
    over      INTEGER NOT NULL CHECK (over IN (0, 1))
) STRICT;

-- A model has one rollout that is not over, at most.
CREATE UNIQUE INDEX rollouts_live ON rollouts (model) WHERE over = 0;

CREATE INDEX rollouts_by_model ON rollouts (model, number);

-- A second event of a number is refused, so that two who decide at the same time cannot both be followed.
CREATE TABLE rollout_events (
    rollout INTEGER NOT NULL REFERENCES rollouts (number),
    number  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    event   TEXT    NOT NULL,
    PRIMARY KEY (rollout, number)
) STRICT, WITHOUT ROWID;
