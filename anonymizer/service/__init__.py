"""Tasks, queues, workers and stored files: everything that needs the database."""
