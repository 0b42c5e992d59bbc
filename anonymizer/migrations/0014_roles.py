from django.db import migrations

#: what each role may do; the admin can change its permissions, or add other groups
ROLES = {
    "operator": (
        "view_task", "change_task", "delete_task", "view_file", "delete_file", "view_worker", "fetch_models",
        "view_profile", "change_profile", "delete_profile", "view_token", "add_token", "change_token", "view_ormq",
    ),
    "reviewer": ("view_task", "view_file", "view_original", "review_task"),
    "auditor": (
        "view_task", "view_auditevent", "view_deletionreceipt", "view_token", "view_profile", "view_worker",
    ),
}


def make_roles(apps, schema_editor):
    # Django makes permissions after all migrations; the groups need them now
    from django.apps import apps as installed
    from django.contrib.auth.management import create_permissions

    for label in ("anonymizer", "django_q"):
        create_permissions(installed.get_app_config(label), verbosity=0, using=schema_editor.connection.alias)
    Group = apps.get_model("auth", "Group")
    Permission = apps.get_model("auth", "Permission")
    for name, codenames in ROLES.items():
        group, made = Group.objects.get_or_create(name=name)
        if made:
            allowed = Permission.objects.filter(
                content_type__app_label__in=("anonymizer", "django_q"), codename__in=codenames
            )
            group.permissions.set(allowed)


class Migration(migrations.Migration):
    """Make the roles operator, reviewer and auditor. A group of the same name that exists already stays as it is."""

    dependencies = [
        ("anonymizer", "0012_reviews"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="worker",
            options={"ordering": ["name"], "permissions": [("fetch_models", "Can fetch models")]},
        ),
        migrations.RunPython(make_roles, migrations.RunPython.noop),
    ]
