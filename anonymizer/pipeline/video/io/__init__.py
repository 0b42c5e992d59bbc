"""Reading and writing video files: containers, codecs, packets and frames."""
