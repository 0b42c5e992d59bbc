"""Evaluation of videos: leaks in delivered masks, and how tracking bridges lost detections."""
