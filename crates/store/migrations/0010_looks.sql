-- What monitors found: the newest looks of each model. Times are milliseconds since 1970.

CREATE TABLE looks (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    model_id INTEGER NOT NULL REFERENCES models (id),
    version  INTEGER NOT NULL,
    at_ms    INTEGER NOT NULL,
    -- Whether those monitors looked that follow series by the minute.
    series   INTEGER NOT NULL CHECK (series IN (0, 1)),
    -- The format of `findings`, which are JSON.
    format   INTEGER NOT NULL,
    findings TEXT    NOT NULL
) STRICT;

CREATE INDEX looks_by_model ON looks (model_id, id, series);
