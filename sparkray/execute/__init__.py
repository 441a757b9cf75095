"""The life of one run: `run.run_once` goes through it; each other module is a part of it.

`layout` says where the files of a run lie and which command and container it gets; it imports neither Docker nor samplers.
"""
