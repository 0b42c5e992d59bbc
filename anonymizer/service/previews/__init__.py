"""What the admin shows of files. Workers make it, because decoders run nowhere else."""
