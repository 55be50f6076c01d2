-- What feedback is about, so that it is known for as long as the feedback itself is kept.

ALTER TABLE alert_feedback ADD COLUMN model   TEXT;
ALTER TABLE alert_feedback ADD COLUMN monitor TEXT;
ALTER TABLE alert_feedback ADD COLUMN subject TEXT;

UPDATE alert_feedback SET (model, monitor, subject) = (
    SELECT a.model, json_extract(a.labels, '$.monitor'), json_extract(a.labels, '$.subject')
    FROM alerts a WHERE a.fingerprint = alert_feedback.fingerprint
);

CREATE INDEX alert_feedback_by_subject ON alert_feedback (model, monitor, at);
