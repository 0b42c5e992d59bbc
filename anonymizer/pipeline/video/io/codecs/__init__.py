"""What is known of single codecs: which of their frames cannot be trusted, and what they hide beside the picture."""
