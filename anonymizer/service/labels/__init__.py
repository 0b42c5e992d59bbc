"""What finished tasks give for labels: metadata and originals."""
