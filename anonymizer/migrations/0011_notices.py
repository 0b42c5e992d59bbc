"""PostgreSQL announces ends of tasks and webhooks that are due, whichever code changes the rows."""

from typing import Any

from django.db import migrations

# The conditions stand in the functions: columns that a trigger names cannot change their types later.
CREATE = """
CREATE FUNCTION anonymizer_task_ended() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF NEW.status <> OLD.status AND NEW.status NOT IN ('new', 'queued', 'processing') THEN
PERFORM pg_notify('anonymizer_ended', NEW.id::text); END IF; RETURN NULL; END $$;
CREATE TRIGGER anonymizer_task_ended AFTER UPDATE ON anonymizer_task FOR EACH ROW
EXECUTE FUNCTION anonymizer_task_ended();
CREATE FUNCTION anonymizer_webhook_due() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF NEW.next_try IS NOT NULL AND NEW.lease_token IS NULL THEN
PERFORM pg_notify('anonymizer_webhooks', ''); END IF; RETURN NULL; END $$;
CREATE TRIGGER anonymizer_webhook_due AFTER INSERT OR UPDATE ON anonymizer_webhookdelivery FOR EACH ROW
EXECUTE FUNCTION anonymizer_webhook_due();
"""
DROP = """
DROP TRIGGER IF EXISTS anonymizer_task_ended ON anonymizer_task;
DROP FUNCTION IF EXISTS anonymizer_task_ended();
DROP TRIGGER IF EXISTS anonymizer_webhook_due ON anonymizer_webhookdelivery;
DROP FUNCTION IF EXISTS anonymizer_webhook_due();
"""


def create(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(CREATE, params=None)


def drop(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(DROP, params=None)


class Migration(migrations.Migration):
    dependencies = [("anonymizer", "0010_task_indexes")]

    operations = [migrations.RunPython(create, drop)]
