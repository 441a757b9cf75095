"""The search of Docker options with Optuna: the only room that imports it. It starts nothing: it is handed a `submit`."""

from sparkray.optimize.search.feasible_space import Axis, FeasibleSpace, feasible_space
from sparkray.optimize.search.importance import importance
from sparkray.optimize.search.loop import open_study, read, search
from sparkray.optimize.search.shortlist import Candidate, shortlist
from sparkray.optimize.search.storage import default_storage, open_storage, without_password
from sparkray.optimize.search.turns import present
from sparkray.optimize.search.types import Batch, Crew, Evaluated, Found, Result, Settings, Submit, Trial, Work, Worker

__all__ = [
    "Axis",
    "Batch",
    "Candidate",
    "Crew",
    "Evaluated",
    "FeasibleSpace",
    "Found",
    "Result",
    "Settings",
    "Submit",
    "Trial",
    "Work",
    "Worker",
    "default_storage",
    "feasible_space",
    "importance",
    "open_storage",
    "open_study",
    "present",
    "read",
    "search",
    "shortlist",
    "without_password",
]
