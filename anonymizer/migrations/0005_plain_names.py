import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("anonymizer", "0004_profiles")]

    operations = [
        migrations.RenameField("task", "rung", "notified_at"),
        migrations.RenameField("task", "coverage", "review_counts"),
        # only the help texts change from here on: no column does
        migrations.AlterField(
            model_name="profile",
            name="data",
            field=models.JSONField(help_text="The whole profile as JSON, with its name."),
        ),
        migrations.AlterField(
            model_name="task",
            name="detections",
            field=models.JSONField(default=dict, help_text="Number of redacted objects of each type."),
        ),
        migrations.AlterField(
            model_name="task",
            name="detector_keys",
            field=models.JSONField(
                default=dict, help_text="The models and settings that the stored detections depend on."
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="duration",
            field=models.FloatField(blank=True, help_text="Seconds of detection and redaction.", null=True),
        ),
        migrations.AlterField(
            model_name="task",
            name="endpoint",
            field=models.CharField(blank=True, help_text="The beginning of the task's URLs.", max_length=500),
        ),
        migrations.AlterField(
            model_name="task",
            name="leases",
            field=models.PositiveSmallIntegerField(
                default=0, help_text="How many times a worker started to work on the task."
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="model_ids",
            field=models.JSONField(default=list, help_text="The models that made the result."),
        ),
        migrations.AlterField(
            model_name="task",
            name="notified_at",
            field=models.DateTimeField(
                default=django.utils.timezone.now,
                editable=False,
                help_text="The last time when a worker was notified of the task.",
            ),
        ),
        migrations.AlterField(
            model_name="task",
            name="options",
            field=models.JSONField(default=dict, help_text="The options that differ from the defaults."),
        ),
        migrations.AlterField(
            model_name="task",
            name="review_counts",
            field=models.JSONField(default=dict, help_text="Numbers of detections that a person should review."),
        ),
        migrations.AlterField(
            model_name="task",
            name="video",
            field=models.JSONField(
                blank=True,
                help_text="Progress of a video: frames done, all frames, frames per second, seconds left.",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="worker",
            name="loaded",
            field=models.JSONField(default=dict, help_text="The device of each loaded model."),
        ),
        migrations.AlterField(
            model_name="worker",
            name="parent",
            field=models.PositiveIntegerField(
                default=0, editable=False, help_text="Process number of the cluster that started the worker."
            ),
        ),
        migrations.AlterField(
            model_name="worker",
            name="serves",
            field=models.JSONField(default=dict, help_text="The models that serve each object type."),
        ),
        migrations.AlterField(
            model_name="worker",
            name="warning",
            field=models.TextField(blank=True, help_text="Something that should be better, although the worker works."),
        ),
    ]
