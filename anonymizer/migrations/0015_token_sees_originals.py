from django.db import migrations, models


class Migration(migrations.Migration):
    """A right of its own for reviewers to see the originals of others. No token has it."""

    dependencies = [("anonymizer", "0014_roles")]

    operations = [
        migrations.AddField(
            model_name="token",
            name="sees_originals",
            field=models.BooleanField(
                default=False,
                help_text="Whether a client that reviews may see the originals of other clients' tasks that need a "
                "review.",
            ),
        ),
    ]
