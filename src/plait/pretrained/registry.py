"""Every family of pretrained encoders, by its modality. Add one: import it, and add a line."""

from plait.pretrained.base import Family
from plait.pretrained.image import IMAGE
from plait.pretrained.text import TEXT

FAMILIES: dict[str, Family] = {
    "image": IMAGE,
    "text": TEXT,
}
