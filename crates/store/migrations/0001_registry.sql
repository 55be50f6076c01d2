-- The registry: what was pushed, what serves, what happened.
-- Numbers of versions are never used twice: `last_number` outlives the versions, and a removed model
-- keeps its row.

CREATE TABLE models (
    id            INTEGER PRIMARY KEY,
    name          TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    removed_at    INTEGER,
    last_number   INTEGER NOT NULL DEFAULT 0,
    version_count INTEGER NOT NULL DEFAULT 0,
    traffic       INTEGER,
    FOREIGN KEY (id, traffic) REFERENCES versions (model_id, number)
) STRICT;

CREATE UNIQUE INDEX models_by_name ON models (name);
-- `Credit` beside `credit` would be one model on some disks and two on others.
CREATE UNIQUE INDEX models_by_folded_name ON models (name COLLATE NOCASE);
CREATE INDEX models_listed ON models (name) WHERE removed_at IS NULL;

CREATE TABLE versions (
    id         INTEGER PRIMARY KEY,
    model_id   INTEGER NOT NULL REFERENCES models (id),
    number     INTEGER NOT NULL CHECK (number BETWEEN 1 AND 4294967295),
    digest     BLOB    NOT NULL CHECK (length(digest) = 32),
    main       TEXT    NOT NULL,
    manifest   TEXT    NOT NULL,
    signature  TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('pushed', 'verified')),
    report     TEXT,
    created_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX versions_by_number ON versions (model_id, number);
CREATE UNIQUE INDEX versions_by_digest ON versions (model_id, digest);

CREATE TABLE files (
    version_id INTEGER NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
    path       TEXT    NOT NULL,
    digest     BLOB    NOT NULL CHECK (length(digest) = 32),
    size       INTEGER NOT NULL CHECK (size >= 0),
    PRIMARY KEY (version_id, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX files_by_digest ON files (digest);

CREATE TABLE aliases (
    model_id INTEGER NOT NULL,
    name     TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    PRIMARY KEY (model_id, name),
    FOREIGN KEY (model_id, number) REFERENCES versions (model_id, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX aliases_by_version ON aliases (model_id, number);

CREATE TABLE alias_history (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    model_id    INTEGER NOT NULL REFERENCES models (id),
    alias       TEXT    NOT NULL,
    from_number INTEGER,
    to_number   INTEGER,
    at          INTEGER NOT NULL,
    who         TEXT    NOT NULL,
    why         TEXT    NOT NULL
) STRICT;

CREATE INDEX alias_history_by_alias ON alias_history (model_id, alias, id);

CREATE TABLE events (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    model  TEXT    NOT NULL,
    kind   TEXT    NOT NULL,
    detail TEXT    NOT NULL
) STRICT;

CREATE INDEX events_by_model ON events (model, id);

-- What happened stays as it was written.
CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are not changed'); END;
CREATE TRIGGER events_are_not_removed BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are not removed'); END;
CREATE TRIGGER alias_history_is_not_changed BEFORE UPDATE ON alias_history
BEGIN SELECT RAISE(ABORT, 'the history of aliases is not changed'); END;
CREATE TRIGGER alias_history_is_not_removed BEFORE DELETE ON alias_history
BEGIN SELECT RAISE(ABORT, 'the history of aliases is not removed'); END;
