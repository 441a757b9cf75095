"""Images: what an environment runs, and its digest.

`venv` builds an image from the running virtual environment, `rootfs` exports an image for the native arm, `digest` hashes
the files of an arm.
"""
