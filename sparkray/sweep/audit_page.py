"""An audit as one HTML file that needs nothing else, neither network nor script, whatever it was an audit of.

It looks as the report does, whose style it takes, and has the same columns as the report's section on the audit. A report
links each number to rows of a dataset; here there may be none, so the rows are named.
"""

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from sparkray import __version__
from sparkray.audit.finding import GRAVITIES, Report
from sparkray.audit.knowledge import machine_told
from sparkray.audit.results import Results
from sparkray.config.site import Site
from sparkray.report.page import template

_SHOWN_ROWS = 20
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>Audit of {{ name }}</title>
<style>
{{ style }}
</style>
</head>
<body>
<a class="skip" href="#main">Skip to the findings</a>
<header>
<h1>Would these results survive a reviewer?</h1>
<p class="question">{{ name }}: {{ source }}, {{ rows }} rows, {{ counting }} of them count; {{ machine }}.</p>
</header>
<main id="main">
<h2 id="findings">Findings</h2>
<p>{{ summary }}</p>
{% if report.findings %}
<div class="scroll" role="region" aria-label="Findings" tabindex="0">
<table>
<caption>What a reviewer would object to, gravest first. <strong>fatal</strong>: the numbers cannot be what they are said to
be. <strong>grave</strong>: they may be, but do not support a conclusion. <strong>note</strong>: worth knowing.</caption>
<thead><tr><th scope="col">finding</th><th scope="col">gravity</th><th scope="col">what it means</th>
<th scope="col">seen</th><th scope="col">rows</th></tr></thead>
<tbody>
{% for finding in report.findings %}
<tr><th scope="row">{{ finding.kind|replace("_", " ") }}</th><td>{{ finding.gravity }}</td><td>{{ finding.message }}</td>
<td>{{ finding.evidence }}</td><td>{{ finding.rows[:most]|join(", ") }}
{% if finding.rows|length > most %} and {{ finding.rows|length - most }} more{% endif %}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
{% endif %}
{% if report.not_judged %}
<h2 id="open">What could not be judged</h2>
<ul>
{% for open in report.not_judged %}
<li><strong>{{ open.kind|replace("_", " ") }}</strong>: {{ open.reason }}</li>
{% endfor %}
</ul>
{% endif %}
</main>
<footer><p>A finding is a reason to doubt, not a proof of guilt. sparkray {{ version }}.</p></footer>
</body>
</html>
"""


def audit_page(report: Report, results: Results, *, name: str, site: Site | None) -> str:
    """The page as HTML.

    Args:
        report: What the audit says.
        results: What it is about.
        name: What the user calls it, such as a file.
        site: The machine that it was judged by, if any.
    """
    counts = ", ".join(f"{sum(f.gravity == g for f in report.findings)} {g}" for g in GRAVITIES)
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.from_string(_PAGE).render(
        name=name,
        style=Markup(template("page.css")),  # noqa: S704 - our own
        source=results.source,
        rows=len(results.frame),
        counting=len(results.ok),
        machine=machine_told(site, results.gpus),
        summary=f"{len(report.findings)} findings: {counts}." if report.findings else "Nothing found.",
        report=report,
        most=_SHOWN_ROWS,
        version=__version__,
    )
