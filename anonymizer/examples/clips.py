"""Videos to look at: two of them beside each other, or pictures of a whole video at a glance."""

from __future__ import annotations

from anonymizer.examples.comparison_clips import side_by_side
from anonymizer.examples.contact_sheets import contact_sheet

__all__ = ["contact_sheet", "side_by_side"]
