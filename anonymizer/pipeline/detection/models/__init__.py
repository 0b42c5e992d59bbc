"""The detectors: one module a family. A new one implements `Detector` and gets a `Loader` in `model_zoo`."""
