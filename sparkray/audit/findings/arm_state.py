"""A machine that was hotter, or had less free memory, in one arm than in the other."""

from collections.abc import Iterator

from sparkray.audit.case import Case, labels, numbers, of_arm, reference_first
from sparkray.audit.finding import Finding, NotJudged
from sparkray.audit.levels import compared, difference
from sparkray.audit.results import STATE

_LEVEL = 0.01
_LEAST = {"gpu": 1.0, "mem": 0.5, "page": 0.5, "swap": 0.1}


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Differences of state between arms, model by model pooled: at least 1 °C or 0.5 GiB, and clear at 1 %.

    Grave for what held before the start; a note for temperatures at the end, which may be an effect of the arm.
    """
    columns = [column for column in STATE if numbers(case.ok, column).size]
    if not any(column.startswith("gpu_temp") for column in columns):
        yield NotJudged("arm_state/temperature")
    if not any(column.startswith(("mem", "page")) for column in columns):
        yield NotJudged("arm_state/memory")
    reference, *others = reference_first(case.ok["environment"].unique().to_list())
    for column in columns:
        for other in others:
            apart, p = difference(case, column, reference, other)
            if abs(apart) >= _LEAST[column.split("_")[0]] and p * len(columns) < _LEVEL:
                yield _finding(case, column, (reference, other), (apart, p))


def _finding(case: Case, column: str, arms: tuple[str, str], test: tuple[float, float]) -> Finding:
    is_temperature, after = column.endswith("_c"), column in ("gpu_temp_end_c", "gpu_temp_max_c")
    both = compared(case, arms)
    values = {
        "what": STATE[column],
        "column": column,
        "unit": "°C" if is_temperature else "GiB",
        "after": after,
        "arms": arms,
        "means": [float(numbers(of_arm(both, arm), column).mean()) for arm in arms],
        "difference": test[0],
        "p": test[1],
    }
    rows = labels(both.drop_nulls(column))
    return Finding("thermal_state" if is_temperature else "memory_state", values, "note" if after else "grave", rows)
