"""Videos: detectors run in key frames, and between them where a frame may show something else."""
