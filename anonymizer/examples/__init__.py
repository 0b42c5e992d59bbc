"""Images, videos and clips for notebooks."""
