-- What is known of those whom predictions are about, by their key: often what a model must not be told.

CREATE TABLE attributes (
    model_id INTEGER NOT NULL REFERENCES models (id),
    name     TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    value    TEXT    NOT NULL,
    PRIMARY KEY (model_id, name, key)
) STRICT, WITHOUT ROWID;
