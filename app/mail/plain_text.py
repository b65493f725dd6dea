"""The plain text part of a mail that has only html.

Links keep their addresses, lists their marks, quotes their `>`, images their alternative text. What a mail program
does not show, such as a hidden preheader, is left out. Nesting beyond some levels changes nothing any more, so that
the text is never many times as long as the html.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from app.mail.markup import VOID, End, Start, Text, read_markup

_PARAGRAPHS = frozenset(
    {
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "ul",
        "ol",
        "dl",
        "blockquote",
        "pre",
        "table",
        "figure",
        "fieldset",
        "hr",
    }
)
_LINES = frozenset(
    {
        *("html", "body", "div", "section", "article", "header", "footer", "nav", "main", "aside", "address", "center"),
        *("form", "li", "dt", "dd", "tr", "caption", "figcaption", "legend", "details", "summary", "option"),
    }
)
_BLOCKS = _PARAGRAPHS | _LINES
_NOT_SHOWN = frozenset({"head", "template", "svg", "math", "select", "object", "audio", "video", "canvas"})
_CELLS = frozenset({"td", "th"})
_TABLE_PARTS = frozenset({"table", "thead", "tbody", "tfoot", "tr", "td", "th", "body", "html"})
_UNDERLINES = {"h1": "=", "h2": "-"}
# The start tag ends the elements of these names, unless one of the others is between.
_IMPLIED_ENDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "a": (frozenset({"a"}), frozenset()),
    "body": (frozenset({"head"}), frozenset()),
    "li": (frozenset({"li", "p"}), frozenset({"ul", "ol", "table"})),
    "dt": (frozenset({"dt", "dd", "p"}), frozenset({"dl", "table"})),
    "dd": (frozenset({"dt", "dd", "p"}), frozenset({"dl", "table"})),
    "td": (frozenset({"td", "th"}), frozenset({"table"})),
    "th": (frozenset({"td", "th"}), frozenset({"table"})),
    "tr": (frozenset({"tr", "td", "th"}), frozenset({"table"})),
}
_BLOCK_ENDS_P = (frozenset({"p"}), frozenset({"table", "td", "th", "li", "div"}))
_HIDING = re.compile(r"(?:^|;)(?:display:none|visibility:hidden|mso-hide:all|max-height:0|opacity:0)(?![.\d])", re.I)
_WRITTEN_LINK = re.compile(r"(?:https?|mailto|tel):\S", re.IGNORECASE)
_SCHEME = re.compile(r"^(?:https?://|mailto:|tel:)", re.IGNORECASE)
_PLAIN_CHARACTERS = dict.fromkeys((0xAD, 0x34F, 0x200B, 0xFEFF), "") | dict.fromkeys((0x0B, 0x0C, 0xA0), " ")
_PLAIN_CHARACTERS |= dict.fromkeys((0x85, 0x2028, 0x2029), "\n")
_MAX_DEPTH = 64
_MAX_PREFIX = 16
_MAX_UNDERLINE = 60


def text_of(document: str) -> str:
    """What people read in an HTML document, as lines of text; empty where there is nothing to read. Never raises."""
    reader = _Reader()
    for token in read_markup(document):
        match token:
            case Text(text):
                reader.text(text)
            case Start():
                reader.start(token)
            case End(name):
                reader.end(name)
    return reader.result()


def is_hidden(tag: Start) -> bool:
    """Whether the element's attributes keep it from being shown."""
    return "hidden" in tag.attributes or bool(_HIDING.search("".join(tag.attributes.get("style", "").split())))


@dataclass(slots=True)
class _Open:
    """An element that is open. `prefix` stands before every line in it."""

    name: str
    prefix: str = ""
    hidden: bool = False
    href: str = ""
    items: int = 0


@dataclass(slots=True)
class _Page:
    """The lines written, and the one being written. `gap`: 1 a new line, 2 an empty line before what comes next."""

    lines: list[str] = field(default_factory=list)
    line: list[str] = field(default_factory=list)
    start: str = ""
    gap: int = 0
    between: str = ""
    space: bool = False
    cell: bool = False

    def words(self, text: str, prefix: str) -> None:
        """Write words of running text."""
        words = text.split()
        self.space = self.space or text[:1].isspace()
        if words:
            self.put(" ".join(words), prefix)
            self.space = text[-1:].isspace()

    def put(self, text: str, prefix: str) -> None:
        """Write text as it is."""
        if not self.line:
            if self.gap == 2 and self.lines:
                self.lines.append(self.between)
            self.start, self.gap = prefix, 0
        elif self.cell:
            self.line.append(" | ")
        elif self.space:
            self.line.append(" ")
        self.line.append(text)
        self.space = self.cell = False

    def end_line(self, gap: int, prefix: str) -> None:
        """What comes next stands on a line of its own."""
        if self.line:
            self.lines.append((self.start + "".join(self.line)).rstrip())
            self.line.clear()
            self.gap = 0
        between = prefix.rstrip()
        if not self.gap or len(between) < len(self.between):
            self.between = between
        self.gap = max(gap, self.gap)
        self.space = self.cell = False


class _Reader:
    def __init__(self) -> None:
        self._page = _Page()
        self._open: list[_Open] = []
        self._names: Counter[str] = Counter()
        self._too_deep: Counter[str] = Counter()
        self._hidden = 0
        self._preformatted = 0
        self._marker = ""
        self._link: list[str] | None = None

    def result(self) -> str:
        """All that was written."""
        self._close_from(0)
        self._page.end_line(1, "")
        return "\n".join(self._page.lines)

    def text(self, text: str) -> None:
        """Write it, unless it is not shown."""
        if self._hidden:
            return
        text = text.translate(_PLAIN_CHARACTERS)
        if self._preformatted:
            self._as_it_is(text)
            return
        self._page.words(text, self._line_start(text))
        if self._link is not None:
            self._link.append(text)

    def start(self, tag: Start) -> None:
        """Open an element, and end those that cannot hold it."""
        name = tag.name
        if name in _BLOCKS:
            self._end_implied(*_BLOCK_ENDS_P)
        if name in _IMPLIED_ENDS:
            self._end_implied(*_IMPLIED_ENDS[name])
        if name in VOID:
            if not self._hidden and not is_hidden(tag):
                self._void(tag)
        elif len(self._open) < _MAX_DEPTH:
            self._enter(tag)
        else:
            self._too_deep[name] += 1
            self._break(name)

    def end(self, name: str) -> None:
        """Close the element of this name, and what is open in it."""
        if self._too_deep[name]:
            self._too_deep[name] -= 1
            self._break(name)
            return
        for position in reversed(range(len(self._open))) if self._names[name] else ():
            opened = self._open[position].name
            if opened == name:
                self._close_from(position)
                return
            if opened in _CELLS and name not in _TABLE_PARTS:
                return

    @property
    def _prefix(self) -> str:
        return self._open[-1].prefix if self._open else ""

    def _line_start(self, text: str) -> str:
        """What stands before the line that the text would begin: the mark of a list's item, once."""
        if self._marker and not self._page.line and text.strip():
            start, self._marker = self._marker, ""
            return start
        return self._prefix

    def _as_it_is(self, text: str) -> None:
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for number, line in enumerate(lines):
            if number:
                self._break_line()
            if line.strip():
                self._page.put(line, self._line_start(line))

    def _break_line(self) -> None:
        self._page.end_line(1 if self._page.line else 2, self._prefix)

    def _break(self, name: str) -> None:
        if name in _BLOCKS and not self._hidden:
            in_list = name in ("ul", "ol") and self._names["li"] > 0
            self._page.end_line(2 if name in _PARAGRAPHS and not in_list else 1, self._prefix)

    def _void(self, tag: Start) -> None:
        if tag.name == "br":
            self._break_line()
        elif tag.name == "hr":
            self._break("hr")
            self._page.put("---", self._line_start("---"))
            self._break("hr")
        elif tag.name == "img":
            alternative = " ".join(tag.attributes.get("alt", "").split())
            bare = self._link is not None and not "".join(self._link).strip()
            self.text(alternative or (next(a.href for a in reversed(self._open) if a.name == "a") if bare else ""))

    def _enter(self, tag: Start) -> None:
        name, outer = tag.name, self._prefix
        self._break(name)
        if name in _CELLS and self._page.line:
            self._page.cell = True
        opened = _Open(name, outer, hidden=name in _NOT_SHOWN or is_hidden(tag))
        self._hidden += opened.hidden
        self._preformatted += name == "pre"
        if not self._hidden and name == "li":
            self._marker = outer + self._mark()
            opened.prefix = _within(outer, " " * len(self._mark()))
            self._count_item()
        elif name == "blockquote":
            opened.prefix = _within(outer, "> ")
        elif name == "a" and not self._hidden:
            href = "".join(tag.attributes.get("href", "").split()).replace("<", "%3C").replace(">", "%3E")
            opened.href, self._link = (href, []) if _WRITTEN_LINK.match(href) else ("", None)
        self._open.append(opened)
        self._names[name] += 1

    def _mark(self) -> str:
        listed = self._list()
        return f"{listed.items + 1}. " if listed is not None and listed.name == "ol" else "- "

    def _count_item(self) -> None:
        if (listed := self._list()) is not None:
            listed.items += 1

    def _list(self) -> _Open | None:
        return next((opened for opened in reversed(self._open) if opened.name in ("ul", "ol")), None)

    def _end_implied(self, names: Collection[str], barriers: Collection[str]) -> None:
        ended = None
        for position in reversed(range(len(self._open))) if any(self._names[name] for name in names) else ():
            if self._open[position].name in barriers:
                break
            if self._open[position].name in names:
                ended = position
        if ended is not None:
            self._close_from(ended)

    def _close_from(self, position: int) -> None:
        while len(self._open) > position:
            self._leave(self._open[-1])

    def _leave(self, closed: _Open) -> None:
        if closed.href and self._link is not None:
            self._write_link(closed.href, "".join(self._link))
        underline = _UNDERLINES.get(closed.name)
        length = sum(map(len, self._page.line)) if underline else 0
        self._open.pop()
        self._names[closed.name] -= 1
        self._break(closed.name)
        if underline and length and not self._hidden:
            self._page.gap = 1
            self._page.put(underline * min(length, _MAX_UNDERLINE), self._prefix)
            self._break(closed.name)
        self._hidden -= closed.hidden
        self._preformatted -= closed.name == "pre"
        if closed.name == "li":
            self._marker = ""

    def _write_link(self, href: str, text: str) -> None:
        self._link = None
        shown = " ".join(text.split())
        if shown and _bare(shown) != _bare(href) and not self._hidden:
            self._page.words(f" <{href}>", self._prefix)


def _within(outer: str, more: str) -> str:
    return outer + more if len(outer) < _MAX_PREFIX else outer


def _bare(link: str) -> str:
    """A link as people write it."""
    return _SCHEME.sub("", link).rstrip("/").casefold()
