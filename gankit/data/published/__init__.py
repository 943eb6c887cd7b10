"""Published data sets by name: found where they lie on this machine, and downloaded only by `gankit data get`."""

from gankit.data.published.finding import Place, find, listing, locate, located, original, origins
from gankit.data.published.getting import get
from gankit.data.published.sets import SETS, Published

__all__ = ["SETS", "Place", "Published", "find", "get", "listing", "locate", "located", "original", "origins"]
