"""What the html of a mail refers to."""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from app.mail.markup import End, Start, Text, decode_references, read_markup
from app.mail.plain_text import is_hidden

_CONTENT_ID = re.compile(r"cid:([^\s\"'<>()\\]+)", re.IGNORECASE)
_ACTIVE = frozenset({"script", "iframe", "frame", "object", "embed", "applet", "form"})
_DATA_SCRIPT = re.compile(r"application/(?:ld\+)?json", re.IGNORECASE)
_REFERRING = ("src", "background", "href", "poster", "style")


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is shown; `alternative` None where it has none, not even an empty one."""

    source: str
    alternative: str | None


@dataclass(slots=True)
class Link:
    """A link, and the words that it is made of."""

    href: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """`content_ids`: those that attributes refer to; `named_ids`: those that stand anywhere, in a style sheet too.
    `active`: what mail programs take out, as it is called in the html."""

    images: list[Image] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    content_ids: dict[str, None] = field(default_factory=dict)
    named_ids: frozenset[str] = frozenset()
    active: dict[str, None] = field(default_factory=dict)


def read_page(document: str) -> Page:
    """All of it that a finding is about. Never raises."""
    page = Page(named_ids=frozenset(_content_ids(decode_references(document))))
    open_link: Link | None = None
    for token in read_markup(document):
        match token:
            case Start("a", attributes) if "href" in attributes:
                open_link = Link(attributes["href"].strip())
                page.links.append(open_link)
            case End("a"):
                open_link = None
            case Text(text) if open_link is not None:
                open_link.text += text
        if isinstance(token, Start):
            _note(token, page)
    return page


def _note(tag: Start, page: Page) -> None:
    for name in _REFERRING:
        page.content_ids.update(dict.fromkeys(_content_ids(tag.attributes.get(name, ""))))
    if tag.name == "img" and not is_hidden(tag):
        page.images.append(Image(tag.attributes.get("src", "").strip(), tag.attributes.get("alt")))
    if tag.name in _ACTIVE and not _DATA_SCRIPT.match(tag.attributes.get("type", "")):
        page.active[f"<{tag.name}>"] = None
    for name, value in tag.attributes.items():
        if name.startswith("on") and len(name) > len("on"):
            page.active[name] = None
        elif value.strip().lower().startswith("javascript:"):
            page.active["javascript:"] = None


def _content_ids(text: str) -> list[str]:
    return [unquote(content_id) for content_id in _CONTENT_ID.findall(text)]
