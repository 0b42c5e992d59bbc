"""What of a file's metadata is kept: ICC profiles, EXIF, geographic tags and panorama properties."""
