"""The matrix as a page: one file that needs no network and nothing beside it.

Everything that is shown stands in the HTML, so the page reads and its reasons open without the script; the script
only hides the rows that the filters leave out. A policy in the head forbids every request, and whatever text comes
from drivers and servers is escaped before it is put into the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from string import Template

from storagekit_conformance.report import Cell, Matrix, Result, TargetNote

__all__ = ["to_html"]

_GLYPHS = {
    Result.FAILED: "✗",
    Result.ERROR: "!",
    Result.GAP: "gap",
    Result.UNRELIABLE: "~",
    Result.PASSED: "✓",
    Result.SKIPPED: "–",
}

_EXPLAINED = {
    Result.FAILED: "a test of the clause failed, or a known gap is none any more",
    Result.ERROR: "a test could not be set up or cleaned up",
    Result.GAP: "the server is known not to keep it, and it does not",
    Result.UNRELIABLE: "the server sometimes keeps it",
    Result.PASSED: "every test that applies passed; with a dot, some did not apply",
    Result.SKIPPED: "the clause does not apply there; the reason says why",
}

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1c2024; --soft: #60686f; --line: #d9dde1; --raised: #f5f6f8;
  --link: #0b5cad; --passed: #1a7f37; --passed-bg: #e3f5e7; --failed: #b42318; --failed-bg: #fde3e0;
  --error: #8a2be2; --error-bg: #f0e2fd; --known-gap: #8a5a00; --known-gap-bg: #fdf0cf;
  --unreliable: #0b6a88; --unreliable-bg: #dcf1f8; --skipped: #60686f; --skipped-bg: #eceef0; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --ink: #e4e7ea; --soft: #9aa3ab; --line: #31373d;
  --raised: #1d2226; --link: #7ab8ff; --passed: #6fd388; --passed-bg: #16351f; --failed: #ff9a8f; --failed-bg: #4a1d19;
  --error: #d3a6ff; --error-bg: #38214d; --known-gap: #f0c560; --known-gap-bg: #41320f;
  --unreliable: #7fd0ea; --unreliable-bg: #123743; --skipped: #9aa3ab; --skipped-bg: #252b30; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 90rem; padding: 1.5rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0 1rem; color: var(--soft); max-width: 70ch; }
code { font: .92em ui-monospace, monospace; }
table { border-collapse: collapse; } th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
th { text-align: left; font-weight: 600; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
.zero { color: var(--soft); opacity: .5; }
.bar { display: flex; width: 14rem; height: .7rem; border-radius: .35rem; overflow: hidden; background: var(--line); }
.bar i { display: block; }
.scroll { overflow-x: auto; }
form { position: sticky; top: 0; z-index: 3; display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center;
  padding: .7rem 0; background: var(--page); }
input, select { font: inherit; color: inherit; background: var(--raised); border: 1px solid var(--line);
  border-radius: .4rem; padding: .3rem .5rem; } input { min-width: 18rem; }
output { color: var(--soft); }
#matrix { width: 100%; } #matrix thead th { position: sticky; top: 3.6rem; z-index: 2; background: var(--page);
  border-bottom: 2px solid var(--line); vertical-align: bottom; } #matrix thead th.target { text-align: center; }
#matrix td { text-align: center; vertical-align: top; } #matrix th[scope=row] { font-weight: 400; min-width: 20rem; }
#matrix th > code { font-weight: 600; } .text { color: var(--soft); font-size: .9em; max-width: 75ch; }
tr.family th { background: var(--raised); font-weight: 600; }
.cell { display: inline-block; min-width: 2.2rem; padding: 0 .4rem; border-radius: .4rem; position: relative; }
details.cell > summary { cursor: pointer; list-style: none; }
details.cell > summary::-webkit-details-marker { display: none; }
details.cell > div { position: absolute; right: 0; top: 1.9rem; z-index: 4; width: max-content; max-width: 24rem;
  padding: .6rem .8rem; text-align: left; color: var(--ink); background: var(--page); border: 1px solid var(--line);
  border-radius: .5rem; box-shadow: 0 .4rem 1.2rem #0004; overflow-wrap: anywhere; }
details.cell ul { margin: .3rem 0 0; padding-left: 1.1rem; }
.mark { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem; vertical-align: -.05rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 0; } dd { margin: 0; }
[hidden] { display: none !important; }
@media print { form { display: none; } #matrix thead th { position: static; } }
"""

_SCRIPT = """
"use strict";
const form = document.querySelector("form"), rows = [...document.querySelectorAll("#matrix tr[data-family]")];
const heads = [...document.querySelectorAll("#matrix tr.family")];
function filter() {
  const words = form.words.value.toLowerCase().split(/\\s+/).filter(Boolean);
  const family = form.family.value, result = form.result.value, target = form.target.value;
  const open = new Set();
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const cells = [...row.querySelectorAll("td")].filter(cell => !target || cell.dataset.target === target);
    const fits = (!family || row.dataset.family === family) && words.every(word => text.includes(word)) &&
      (!(result || target) || cells.some(cell => result ? cell.dataset.result === result : cell.dataset.result));
    row.hidden = !fits;
    if (fits) { shown++; open.add(row.dataset.family); }
  }
  for (const head of heads) head.hidden = !open.has(head.dataset.of);
  form.shown.value = `${shown} of ${rows.length} clauses`;
}
form.addEventListener("input", filter);
form.addEventListener("submit", event => event.preventDefault());
function close(keeps) {
  for (const cell of document.querySelectorAll("details.cell[open]")) if (!keeps(cell)) cell.open = false;
}
document.addEventListener("click", event => close(cell => cell.contains(event.target)));
document.addEventListener("keydown", event => { if (event.key === "Escape") close(() => false); });
form.hidden = false;
filter();
"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; form-action 'none'; base-uri 'none'">
<title>Conformance to storagekit $version</title>
<style>$style</style>
</head>
<body>
<h1>Conformance to storagekit $version</h1>
<p>$count clauses by every target. A click on a cell says why it is not plainly passed.</p>
<div class="scroll"><table>
<thead><tr><th>target</th><th></th>$summary_head</tr></thead>
<tbody>
$summary
</tbody>
</table></div>
<h2>Clauses</h2>
<form hidden>
<input type="search" name="words" placeholder="words in ids, texts and reasons" aria-label="search">
<label>family <select name="family"><option value="">all</option>$families</select></label>
<label>result <select name="result"><option value="">all</option>$results</select></label>
<label>on <select name="target"><option value="">any target</option>$target_options</select></label>
<output name="shown"></output>
</form>
<table id="matrix">
<thead><tr><th>clause</th>$targets</tr></thead>
<tbody>
$rows
</tbody>
</table>
$traits
<h2>What the signs mean</h2>
<dl>
$legend
</dl>
<script>$script</script>
</body>
</html>
""")


def to_html(matrix: Matrix) -> str:
    """The page."""
    names = [note.name for note in matrix.targets]
    families = list(dict.fromkeys(clause.family for clause in matrix.clauses))
    return _PAGE.substitute(
        version=escape(matrix.storagekit),
        count=len(matrix.clauses),
        style=_STYLE,
        script=_SCRIPT,
        summary_head="".join(f"<th>{escape(result)}</th>" for result in Result) + "<th>not run</th>",
        summary="\n".join(_summary(matrix, name) for name in names),
        families=_choices(families),
        results=_choices(Result),
        target_options=_choices(names),
        targets="".join(f'<th class="target" scope="col">{escape(name)}</th>' for name in names),
        rows="\n".join(_family(matrix, family, names) for family in families),
        traits=_traits([note for note in matrix.targets if note.traits is not None]),
        legend="\n".join(
            f"<dt>{_sign(result, _GLYPHS[result])} {escape(result)}</dt><dd>{escape(_EXPLAINED[result])}</dd>"
            for result in Result
        ),
    )


def _summary(matrix: Matrix, name: str) -> str:
    """A target's row of counts, with a bar of their shares."""
    counts = matrix.counts(name)
    missing = len(matrix.not_run(name))
    total = sum(counts.values()) + missing or 1
    order = (Result.PASSED, Result.SKIPPED, Result.UNRELIABLE, Result.GAP, Result.ERROR, Result.FAILED)
    bar = "".join(
        f'<i style="width:{100 * counts[result] / total:.2f}%;background:var(--{_slug(result)})"></i>'
        for result in order
        if counts[result]
    )
    numbers = "".join(
        f'<td class="number{"" if number else " zero"}">{number}</td>'
        for number in [*(counts[result] for result in Result), missing]
    )
    return f'<tr><th scope="row">{escape(name)}</th><td><div class="bar">{bar}</div></td>{numbers}</tr>'


def _family(matrix: Matrix, family: str, names: list[str]) -> str:
    """The rows of one family, under its name."""
    lines = [f'<tr class="family" data-of="{escape(family)}"><th colspan="{len(names) + 1}">{escape(family)}</th></tr>']
    for clause in matrix.clauses:
        if clause.family == family:
            cells = "".join(_td(matrix.cell(clause.id, name), name) for name in names)
            lines.append(
                f'<tr data-family="{escape(family)}"><th scope="row"><code>{escape(clause.id)}</code>'
                f'<div class="text">{_prose(clause.text)}</div></th>{cells}</tr>'
            )
    return "\n".join(lines)


def _td(cell: Cell | None, target: str) -> str:
    if cell is None:
        return f'<td data-target="{escape(target)}"></td>'
    told = f"{cell.result}, {cell.tests} test{'s' if cell.tests != 1 else ''}"
    glyph = _GLYPHS[cell.result]
    if not cell.reasons:
        shown = _sign(cell.result, glyph, told)
    else:
        if cell.result is Result.PASSED:
            glyph += "·"
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in cell.reasons)
        title = escape("\n".join([told, *cell.reasons]))
        shown = (
            f'<details class="cell" style="{_colours(cell.result)}"><summary title="{title}">{glyph}</summary>'
            f"<div>{escape(target)}: {escape(told)}<ul>{reasons}</ul></div></details>"
        )
    return f'<td data-target="{escape(target)}" data-result="{escape(cell.result)}">{shown}</td>'


def _sign(result: Result, glyph: str, title: str = "") -> str:
    return f'<span class="cell" style="{_colours(result)}" title="{escape(title or result)}">{glyph}</span>'


def _colours(result: Result) -> str:
    return f"color:var(--{_slug(result)});background:var(--{_slug(result)}-bg)"


def _slug(result: Result) -> str:
    return result.replace(" ", "-")


def _choices(names: Iterable[str]) -> str:
    return "".join(f"<option>{escape(name)}</option>" for name in names)


def _traits(notes: list[TargetNote]) -> str:
    """What each driver declares."""
    if not notes:
        return ""
    head = "".join(f'<th class="target">{escape(note.name)}</th>' for note in notes)
    names = dict.fromkeys(name for note in notes for name in note.traits or ())
    rows = []
    for name in names:
        cells = "".join(f'<td class="number">{"yes" if (note.traits or {}).get(name) else "–"}</td>' for note in notes)
        rows.append(f'<tr><th scope="row"><code>{escape(name)}</code></th>{cells}</tr>')
    table = f"<table><thead><tr><th>trait</th>{head}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"
    return (
        f'<h2>Traits</h2>\n<p>What each driver declares at the target\'s place.</p>\n<div class="scroll">{table}</div>'
    )


def _prose(text: str) -> str:
    """A clause's text with its code and its emphasis."""
    parts = re.split(r"`([^`]+)`", text)
    for index, part in enumerate(parts):
        shown = escape(part)
        parts[index] = f"<code>{shown}</code>" if index % 2 else re.sub(r"\*([^*\s][^*]*)\*", r"<em>\1</em>", shown)
    return "".join(parts)
