"""Images with class labels, served as Lightning data modules."""

from cotnet.data.bundled import BundledImages
from cotnet.data.cifar import CIFAR
from cotnet.data.folder import ImageFolder
from cotnet.data.hugging_face import HuggingFace
from cotnet.data.module import ImageDataModule
from cotnet.data.npz import NpzPack
from cotnet.data.shards.module import WebShards

__all__ = ["CIFAR", "BundledImages", "HuggingFace", "ImageDataModule", "ImageFolder", "NpzPack", "WebShards"]
