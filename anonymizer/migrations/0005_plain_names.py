from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("anonymizer", "0004_profiles")]

    operations = [
        migrations.RenameField("task", "rung", "notified_at"),
        migrations.RenameField("task", "coverage", "review_counts"),
    ]
