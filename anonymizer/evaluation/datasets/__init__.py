"""Labelled sets: one module a label format (`coco`, `voc`, `yolo`, `mot`); each gives the types of `records`."""
