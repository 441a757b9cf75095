"""The fixtures over the real machine, which two folders share."""

from real_machine import cache, client, image, images, machine_lock, rootfs

__all__ = ["cache", "client", "image", "images", "machine_lock", "rootfs"]
