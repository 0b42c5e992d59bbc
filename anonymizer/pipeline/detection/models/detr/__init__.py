"""Detection transformers (DETR, Carion et al., arXiv 2005.12872): D-FINE, DEIMv2 and RF-DETR.

The networks are those of the library transformers, which `pip install "anonymizer[models]"` installs. The weights are
the files of the networks' authors: their keys are renamed, and every key must find its place.
"""
