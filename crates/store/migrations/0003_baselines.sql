-- What each version's columns looked like at the time that is taken for the measure. Counts, no rows.

CREATE TABLE baselines (
    version_id INTEGER PRIMARY KEY REFERENCES versions (id) ON DELETE CASCADE,
    made_at    INTEGER NOT NULL,
    source     TEXT    NOT NULL,
    rows       INTEGER NOT NULL CHECK (rows >= 0),
    body       BLOB    NOT NULL
) STRICT;
