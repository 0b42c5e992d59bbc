"""Where a task is sent when it ends, and how long its files stay: the parameters, and sending a webhook again."""
