"""Images: what an environment runs, and proof of it.

`venv` builds an image from the running virtual environment, `rootfs` exports an image for the native arm, `digest` says
what the files of an arm are, computed from that arm's own files.
"""
