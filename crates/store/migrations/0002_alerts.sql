-- Alerts: what fires, what became of it, whom it was told, what was done about it.
-- Fingerprints are numbers of 64 bits, kept as 16 hexadecimal digits. Times are milliseconds since 1970.

CREATE TABLE alerts (
    fingerprint         TEXT    PRIMARY KEY CHECK (length(fingerprint) = 16),
    model               TEXT    NOT NULL,
    labels              TEXT    NOT NULL,
    -- The format of `labels`, `annotations` and `evidence`, which are JSON.
    format              INTEGER NOT NULL,
    state               TEXT    NOT NULL CHECK (state IN ('inactive', 'pending', 'firing', 'resolved')),
    since               INTEGER NOT NULL,
    fine_since          INTEGER,
    why                 TEXT    NOT NULL,
    incident            INTEGER NOT NULL,
    summary             TEXT    NOT NULL,
    evidence            TEXT    NOT NULL,
    annotations         TEXT    NOT NULL,
    before_firing_ms    INTEGER NOT NULL,
    before_resolving_ms INTEGER NOT NULL,
    without_data_ms     INTEGER NOT NULL,
    known_at            INTEGER NOT NULL,
    fired_at            INTEGER,
    ended_at            INTEGER,
    acknowledged_by     TEXT,
    acknowledged_at     INTEGER
) STRICT, WITHOUT ROWID;

-- Unlike `events` this history has an end: a monitor that flaps must not fill the disk.
CREATE TABLE alert_events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    fingerprint TEXT    NOT NULL,
    incident    INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    why         TEXT    NOT NULL,
    evidence    TEXT    NOT NULL
) STRICT;

CREATE INDEX alert_events_by_alert ON alert_events (fingerprint, id);

CREATE TABLE alert_feedback (
    fingerprint TEXT    NOT NULL,
    incident    INTEGER NOT NULL,
    useful      INTEGER NOT NULL CHECK (useful IN (0, 1)),
    at          INTEGER NOT NULL,
    who         TEXT    NOT NULL,
    why         TEXT    NOT NULL,
    PRIMARY KEY (fingerprint, incident)
) STRICT, WITHOUT ROWID;

CREATE TABLE silences (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    matchers TEXT    NOT NULL,
    from_at  INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    who      TEXT    NOT NULL,
    why      TEXT    NOT NULL
) STRICT;

CREATE INDEX silences_by_end ON silences (until);

CREATE TABLE alert_actions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    model       TEXT    NOT NULL,
    rule        TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    incident    INTEGER NOT NULL,
    deed        TEXT    NOT NULL,
    outcome     TEXT    NOT NULL CHECK (outcome IN ('trying', 'done', 'dry_run', 'failed', 'unavailable', 'reversed')),
    why         TEXT    NOT NULL,
    evidence    TEXT    NOT NULL,
    from_number INTEGER,
    to_number   INTEGER,
    reversed_at INTEGER,
    reversed_by TEXT
) STRICT;

CREATE INDEX alert_actions_by_rule ON alert_actions (model, rule, at);
CREATE INDEX alert_actions_by_alert ON alert_actions (fingerprint, incident);

-- What a receiver was last told of a group.
CREATE TABLE alert_told (
    receiver TEXT    NOT NULL,
    grouped  TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    firing   TEXT    NOT NULL,
    PRIMARY KEY (receiver, grouped)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver TEXT    NOT NULL,
    grouped  TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    body     TEXT    NOT NULL,
    alerts   INTEGER NOT NULL,
    state    TEXT    NOT NULL CHECK (state IN ('waiting', 'dead')),
    attempts INTEGER NOT NULL,
    next_at  INTEGER NOT NULL,
    why      TEXT    NOT NULL
) STRICT;

CREATE INDEX deliveries_by_state ON deliveries (state, id);
