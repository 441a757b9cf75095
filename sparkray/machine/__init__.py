"""The machine: what it is (`fingerprint`), whose turn it is (`lock`), what it can honour (`preflight`), `doctor`."""
