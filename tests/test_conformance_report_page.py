"""The page: everything is in it, nothing is fetched, and no text of a driver's becomes markup."""

from __future__ import annotations

from html.parser import HTMLParser

from storagekit_conformance.clauses import Clause
from storagekit_conformance.report import Matrix, Outcome, Result, TargetNote, build
from storagekit_conformance.report_page import to_html

EVIL = "<script>alert('x')</script> \"quoted\" & more"
VOID = {"meta", "input", "br", "link", "img"}


def page(*outcomes: Outcome, clause: str = "A file has `its size`, *always*.", target: str = "toy") -> Matrix:
    return build("1.0", [Clause("stat.file", clause)], [TargetNote(target, {"pinned_reads": True})], outcomes)


class Reader(HTMLParser):
    """What is in a page: its elements with their attributes, its text, and whether what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def cells(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == "td" and "data-target" in attributes]


def test_the_page_is_whole_and_fetches_nothing() -> None:
    text = to_html(page(Outcome("stat.file", "toy", "test_file", Result.PASSED)))
    read = Reader(text)
    assert read.open == []
    assert not [a for _, attributes in read.elements for a in attributes if a in ("src", "href", "action")]
    assert "url(" not in text
    assert "@import" not in text
    policy = next(a["content"] for tag, a in read.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none';")


def test_a_cell_says_its_result_and_its_reasons() -> None:
    read = Reader(to_html(page(Outcome("stat.file", "toy", "test_file", Result.GAP, "no sizes here"))))
    assert read.cells() == [{"data-target": "toy", "data-result": "known gap"}]
    assert ("summary", {"title": "known gap, 1 test\nno sizes here"}) in read.elements
    assert "no sizes here" in read.words


def test_text_is_escaped_everywhere() -> None:
    outcome = Outcome("stat.file", EVIL, "test_file", Result.FAILED, EVIL)
    text = to_html(page(outcome, clause=EVIL, target=EVIL))
    read = Reader(text)
    assert [tag for tag, _ in read.elements].count("script") == 1
    assert read.cells()[0]["data-target"] == EVIL
    assert EVIL in read.words


def test_a_clause_keeps_its_code_and_emphasis() -> None:
    text = to_html(page())
    assert "A file has <code>its size</code>, <em>always</em>." in text


def test_there_is_a_filter_for_each_family_result_and_target() -> None:
    read = Reader(to_html(page(Outcome("stat.file", "toy", "test_file", Result.PASSED))))
    assert [a["name"] for tag, a in read.elements if tag in ("input", "select")] == [
        "words",
        "family",
        "result",
        "target",
    ]
    assert "stat" in read.words
    assert all(result in read.words for result in Result)


def test_the_summary_counts_each_target() -> None:
    text = to_html(page(Outcome("stat.file", "toy", "test_file", Result.PASSED)))
    row = text.partition('<th scope="row">toy</th>')[2].partition("</tr>")[0]
    assert "width:100.00%;background:var(--passed)" in row
    assert row.count('<td class="number">1</td>') == 1
    assert row.count("zero") == 6
