-- How strict an action made the rules about a model's inputs: JSON, by the rule's name. Null for other actions.

ALTER TABLE alert_actions ADD COLUMN inputs TEXT;
