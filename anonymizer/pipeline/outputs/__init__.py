"""What is made from detections and regions: masks, metadata, overlays, previews and figures."""
