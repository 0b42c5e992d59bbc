"""NanoDet-Plus, and the own detector with its network."""
