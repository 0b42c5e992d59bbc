"""What notebooks show: previews of images, and sliders for thresholds."""
