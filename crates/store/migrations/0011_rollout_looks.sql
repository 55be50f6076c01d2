-- How the evidence of each rollout went between its events. Times are milliseconds since 1970.

CREATE TABLE rollout_looks (
    rollout  INTEGER NOT NULL REFERENCES rollouts (number),
    at       INTEGER NOT NULL,
    -- By guardrail, as JSON of the rollout's format.
    e_values TEXT    NOT NULL,
    PRIMARY KEY (rollout, at)
) STRICT, WITHOUT ROWID;
