-- Experiments: what was asked for, how far each is, and everything that happened to it. Times are milliseconds since 1970.

CREATE TABLE experiments (
    -- In the order in which they were begun.
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT    NOT NULL UNIQUE,
    model    TEXT    NOT NULL,
    started  INTEGER NOT NULL,
    who      TEXT    NOT NULL,
    why      TEXT    NOT NULL,
    -- The format of `arms`, `spec`, `progress` and of events, which are JSON.
    format   INTEGER NOT NULL,
    -- The versions with their shares at the beginning in ten-thousandths, the control first.
    arms     TEXT    NOT NULL,
    spec     TEXT    NOT NULL,
    progress TEXT    NOT NULL,
    over     INTEGER NOT NULL CHECK (over IN (0, 1))
) STRICT;

-- A model has one experiment that is not over, at most.
CREATE UNIQUE INDEX experiments_live ON experiments (model) WHERE over = 0;

CREATE INDEX experiments_by_model ON experiments (model, number);

-- A second event of a number is refused, so that two who decide at the same time cannot both be followed.
CREATE TABLE experiment_events (
    experiment INTEGER NOT NULL REFERENCES experiments (number),
    number     INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    event      TEXT    NOT NULL,
    PRIMARY KEY (experiment, number)
) STRICT, WITHOUT ROWID;
