"""Pictures with class labels, served as Lightning data modules."""

from cotnet.data.base import PictureData
from cotnet.data.cifar import CIFAR
from cotnet.data.embedded import EmbeddedPictures
from cotnet.data.folder import ImageFolder
from cotnet.data.hugging_face import HuggingFace
from cotnet.data.npz_pack import NpzPack
from cotnet.data.web_shards import WebShards

__all__ = ["CIFAR", "EmbeddedPictures", "HuggingFace", "ImageFolder", "NpzPack", "PictureData", "WebShards"]
