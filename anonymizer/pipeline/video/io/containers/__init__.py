"""What is read and written of the containers of videos beside what FFmpeg does: MP4, Matroska, AVI and MPEG-TS."""
