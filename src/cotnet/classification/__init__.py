"""Networks that name images: what is trained, how it is loaded, and how it is scored."""

from cotnet.classification.module import Classifier

__all__ = ["Classifier"]
