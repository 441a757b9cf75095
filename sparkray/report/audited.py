"""The audit of the same dataset as a table."""

import json

import polars as pl

from sparkray.analysis import Analysis
from sparkray.audit import audit
from sparkray.audit.knowledge import case_of
from sparkray.audit.readers.dataset import dataset_results
from sparkray.catalog import Catalog, data_root
from sparkray.errors import UnknownNameError

_SCHEMA = {name: pl.String() for name in ("trace", "kind", "gravity", "message", "evidence", "rows")}
NOT_JUDGED = "not judged"


def audited(analysis: Analysis) -> pl.DataFrame:
    """One row a finding, gravest first, then what could not be judged; no rows where there is nothing to read."""
    catalog = Catalog(data_root())
    if analysis.frames is None or analysis.frames.attempts.is_empty():
        return pl.DataFrame(schema=_SCHEMA)
    results = dataset_results(analysis.frames.attempts.to_dicts(), analysis.frames.document)
    try:
        site = catalog.site(results.default_site) if results.default_site else None
    except UnknownNameError:
        site = None
    report = audit(case_of(results, catalog.cards(), site))
    rows = [
        {"kind": f.kind, "gravity": f.gravity, "message": f.message, "evidence": f.evidence, "rows": json.dumps(f.rows)}
        for f in report.findings
    ]
    rows += [
        {"kind": left.kind, "gravity": NOT_JUDGED, "message": left.reason, "evidence": "", "rows": "[]"}
        for left in report.not_judged
    ]
    return pl.DataFrame(
        [{"trace": f"audit/{index}/{row['kind']}", **row} for index, row in enumerate(rows, 1)],
        schema=_SCHEMA,
    )
