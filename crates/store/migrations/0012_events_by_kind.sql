-- Events of one kind, of all models and of one, are found however many others there are.

CREATE INDEX events_by_kind ON events (kind, id);
CREATE INDEX events_by_model_and_kind ON events (model, kind, id);
