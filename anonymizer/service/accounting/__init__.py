"""What is written down of tasks that come, are looked at, and go: the audit log, and receipts of deletions."""
