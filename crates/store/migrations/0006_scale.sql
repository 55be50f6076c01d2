-- How many sessions an action gave each version of a model. Null for other actions.

ALTER TABLE alert_actions ADD COLUMN instances INTEGER;
