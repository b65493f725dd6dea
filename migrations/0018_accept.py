"""What looks, on PostgreSQL, whether mails may be accepted as they are, so that one statement accepts them."""

from tortoise import migrations

from app.database.operations import RunSql

# Each statement of a volatile function sees what is committed when it begins: the counts are read after the wait for
# the locks. One statement that locks and counts would not see what the one that it waited for had counted.
MAY_ACCEPT = """
CREATE FUNCTION may_accept(asked jsonb) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    locked integer;
    fits boolean;
    used jsonb;
BEGIN
    PERFORM FROM pace
    WHERE subject = ANY (ARRAY(SELECT value::uuid FROM jsonb_array_elements_text(asked->'subjects')))
    ORDER BY subject FOR UPDATE;
    GET DIAGNOSTICS locked = ROW_COUNT;
    IF locked < jsonb_array_length(asked->'subjects')
        OR (asked->>'revision')::bigint <> COALESCE((SELECT number FROM revision WHERE name = 'access'), 0)
        OR EXISTS (
            SELECT FROM jsonb_to_recordset(asked->'keys') AS asked_for (role_id uuid, key text)
            JOIN idempotency_key USING (role_id, key))
        OR EXISTS (SELECT FROM circuit WHERE service_id = ANY (
            ARRAY(SELECT value::uuid FROM jsonb_array_elements_text(asked->'services'))))
    THEN
        RETURN NULL;
    END IF;
    SELECT COALESCE(bool_and(counted.used <= room), TRUE),
        COALESCE(jsonb_agg(jsonb_build_array(counted.used, latest) ORDER BY place), '[]')
    INTO fits, used
    FROM ROWS FROM (jsonb_to_recordset(asked->'windows') AS (subject uuid, span text, after timestamptz, room bigint))
        WITH ORDINALITY AS asked_of (subject, span, after, room, place),
    LATERAL (
        SELECT COALESCE(SUM(counter.used), 0) AS used,
            MAX(starts_at) FILTER (WHERE starts_at > (asked->>'moment')::timestamptz) AS latest
        FROM counter
        WHERE counter.subject = asked_of.subject AND counter.span = asked_of.span AND starts_at > after
    ) AS counted;
    RETURN CASE WHEN fits THEN used END;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [("heliograph", "0017_large_content")]

    initial = False

    operations = [
        RunSql(
            {"sqlite": [], "postgres": [MAY_ACCEPT]},
            reverse={"sqlite": [], "postgres": ["DROP FUNCTION may_accept(jsonb)"]},
        ),
    ]
