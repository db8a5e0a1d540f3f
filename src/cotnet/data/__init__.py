"""Pictures with class labels, served as Lightning data modules."""

from cotnet.data.base import PictureData
from cotnet.data.cifar import CIFAR
from cotnet.data.embedded import EmbeddedPictures
from cotnet.data.folder import ImageFolder
from cotnet.data.npz_pack import NpzPack

__all__ = ["CIFAR", "EmbeddedPictures", "ImageFolder", "NpzPack", "PictureData"]
