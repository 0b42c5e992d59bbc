"""Detections of labelled images matched with their labels, and the figures that follow: one module a metric."""
