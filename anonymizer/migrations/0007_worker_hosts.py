from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("anonymizer", "0006_tokens")]

    operations = [
        # workers of the version before have names that say nothing of the machine; each start makes new rows
        migrations.RunSQL("DELETE FROM anonymizer_worker", migrations.RunSQL.noop),
        migrations.RemoveField("worker", "parent"),
        migrations.AddField(
            model_name="worker",
            name="host",
            field=models.CharField(
                default="",
                editable=False,
                help_text="The machine, with a code of its start and the container.",
                max_length=90,
            ),
        ),
    ]
