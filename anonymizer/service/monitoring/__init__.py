"""What the service tells about itself: what is free, what it counted, and its log."""
