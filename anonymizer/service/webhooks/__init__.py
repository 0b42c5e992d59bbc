"""Webhooks: which receivers are allowed, which deliveries are due, and the process that sends them.

A delivery is a row of the database. No queue of django-q2 is involved, so no notification of one can be lost, and a
slow receiver holds no picture.
"""
