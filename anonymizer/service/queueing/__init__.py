"""How tasks reach the workers: notifications through django-q2, schedules, and waiting for the end of a task."""
