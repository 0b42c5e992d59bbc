"""Videos that are rendered again from kept detections, after a review."""
