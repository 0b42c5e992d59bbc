from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("anonymizer", "0010_receipts")]

    operations = [
        migrations.AlterField(
            model_name="file",
            name="kind",
            field=models.CharField(
                choices=[
                    ("original", "Original"),
                    ("anonymised", "Anonymised"),
                    ("binary-mask", "Binary Mask"),
                    ("instance-mask", "Instance Mask"),
                    ("metadata", "Metadata"),
                    ("detections", "Detections"),
                    ("receipt", "Receipt"),
                    ("preview-before", "Preview Before"),
                    ("preview-after", "Preview After"),
                    ("side-by-side", "Side By Side"),
                ],
                max_length=16,
            ),
        ),
        migrations.AddIndex("task", models.Index(fields=["-created", "-id"], name="task_newest")),
        migrations.AddIndex("task", models.Index(fields=["status", "-created", "-id"], name="task_status_newest")),
    ]
