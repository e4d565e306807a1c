-- note --
-- Writes down a change, in its transaction.
-- $1 tenant_id int, $2 actor text, $3 action text, $4 subject text, $5 detail jsonb, $6 address text, $7 request_id text
INSERT INTO audit_log (tenant_id, actor, action, subject, detail, address, request_id)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- page --
-- What was noted, newest first; before_id null begins with the newest.
-- $1 tenant_id int, $2 before_id bigint, $3 most bigint
SELECT audit_id, noted_at, actor, action, subject, detail, address, request_id
FROM audit_log
WHERE tenant_id = $1 AND ($2::bigint IS NULL OR audit_id < $2)
ORDER BY audit_id DESC
LIMIT $3;
