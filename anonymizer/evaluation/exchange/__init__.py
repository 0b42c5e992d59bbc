"""Labels and detections in the formats of other tools: COCO, YOLO, CVAT, Label Studio; one module a format."""
