"""The search of Docker options with Optuna: the only room that imports it. It starts nothing: it is handed a `submit`."""

from sparkray.optimize.search.drivers import present
from sparkray.optimize.search.ground import Axis, Ground, ground
from sparkray.optimize.search.importance import importance
from sparkray.optimize.search.loop import open_study, read, search
from sparkray.optimize.search.shortlist import Candidate, shortlist
from sparkray.optimize.search.storage import default_storage, open_storage
from sparkray.optimize.search.words import Batch, Crew, Evaluated, Found, Result, Settings, Station, Submit, Trial, Work

__all__ = [
    "Axis",
    "Batch",
    "Candidate",
    "Crew",
    "Evaluated",
    "Found",
    "Ground",
    "Result",
    "Settings",
    "Station",
    "Submit",
    "Trial",
    "Work",
    "default_storage",
    "ground",
    "importance",
    "open_storage",
    "open_study",
    "present",
    "read",
    "search",
    "shortlist",
]
