"""A photograph on offer, and whether it may be taken as far as its description tells."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

MAX_PIXELS = 50_000_000
CREATIVE_COMMONS = re.compile(
    r"CC[ -](BY(?:-NC)?(?:-ND|-SA)?)"
    r"(?:[ -]\d\.\d(?:[-,/] ?\d\.\d)*)?"  # 4.0, or several: 3.0-2.5-2.0
    r"(?:[ -](?!(?:NC|ND|SA)\b)[A-Z]{2,10})?",  # the country of a port: de, igo, scotland
    re.IGNORECASE,
)
SAME_LICENSE = {
    **dict.fromkeys(("cc0", "cc0 1.0", "cc-zero", "cc zero"), "CC0"),
    **dict.fromkeys(("public domain", "pd", "pdm", "pdm 1.0", "public domain mark", "cc pdm 1.0"), "public domain"),
}
MIMES = ("", *(f"image/{kind}" for kind in ("jpeg", "png", "webp", "tiff", "avif")))
GENERATED = re.compile(
    r"\bAI[- ](generated|created|made|enhanced|upscaled|colou?ri[sz]ed|art\b|images?\b)"
    r"|\b(generated|created|made|upscaled) (by|with|using) (an? )?(AI\b|artificial intelligence|neural network)"
    r"|\bartificial[- ]intelligence[- ](generated|art)|\bgenerative AI\b|\btext[- ]to[- ]image\b|\bmidjourney\b"
    r"|\bstable[- ]diffusion\b|\bSDXL\b|\bdall[-\u00b7\u2022\u2011. ]e\b|\bdalle[- ]?\d|\badobe firefly\b"
    r"|\bflux\.?1\b|\bstyle-?gan|\bcraiyon\b|\bnightcafe\b|\bthis ?person ?does ?not ?exist",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A photograph that a source offers.

    source: commons, openverse or folder. origin: its name there: the address of its page, or its path in the folder.
    url: where its file lies, empty where it lies on this disk (`file`) or nowhere. page: the page it is shown on.
    license: short name such as CC BY-SA 4.0. uploaded: the day (2015-03-01) since when it is known to be public.
    width, height: in pixels, of what `url` gives, 0 where unknown. mime: image/jpeg and the like, where known.
    hints: further text about it, which is looked through and not kept.
    """

    source: str
    origin: str
    url: str = ""
    file: Path | None = None
    page: str = ""
    title: str = ""
    author: str = ""
    credit: str = ""
    license: str = ""
    license_url: str = ""
    uploaded: str = ""
    width: int = 0
    height: int = 0
    mime: str = ""
    hints: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is taken.

    licenses: families, such as "CC BY-SA". before: the day (2022-01-01) before which a picture must have been public;
    one's own files have no such day. min_side: in pixels, of the shorter side.
    """

    licenses: tuple[str, ...]
    before: str
    min_side: int


def objection(candidate: Candidate, rules: Rules) -> str:
    """Why a candidate is refused as far as its description tells; empty where nothing speaks against it."""
    own = candidate.file is not None
    if not own and not candidate.url:
        return "no file behind the page"
    if not candidate.license and not own:
        return "no licence named"
    if candidate.license and not is_accepted(candidate.license, rules.licenses):
        return f"licence {license_family(candidate.license)[:40]}"
    if GENERATED.search(" ".join((candidate.title, candidate.author, candidate.credit, candidate.hints))):
        return "described as AI-generated"
    if not own and not re.fullmatch(r"\d{4}-\d\d-\d\d", candidate.uploaded):
        return "no date"
    if not own and candidate.uploaded >= rules.before:
        return f"not yet public before {rules.before}"
    if candidate.mime not in MIMES:
        return f"not a photograph: {candidate.mime[:40]}"
    if candidate.width and candidate.height:
        if min(candidate.width, candidate.height) < rules.min_side:
            return too_small(rules)
        if candidate.width * candidate.height > MAX_PIXELS:
            return f"more than {MAX_PIXELS / 1e6:g} megapixels"
    return ""


def license_family(name: str) -> str:
    """The licence without version and country, "CC BY-SA 3.0 de" as "CC BY-SA"; one we do not know stays as it is."""
    name = " ".join(name.split())
    if found := CREATIVE_COMMONS.fullmatch(name):
        return f"CC {found[1].upper()}"
    return SAME_LICENSE.get(name.lower(), name)


def is_accepted(name: str, accepted: Sequence[str]) -> bool:
    """Whether a licence belongs to one of the families; "CC BY-NC" is another than "CC BY"."""
    return license_family(name).lower() in {license_family(other).lower() for other in accepted}


def too_small(rules: Rules) -> str:
    return f"smaller than {rules.min_side} px"


def page_key(page: str) -> str:
    """The short name of a page, and of the picture taken from it."""
    return hashlib.sha256(page.encode()).hexdigest()[:12]


def plain_title(title: str) -> str:
    """A file's title without "File:" and extension, its underscores as spaces."""
    title = re.sub(r"\.(jpe?g|png|webp|tiff?|gif|avif|bmp)$", "", title.removeprefix("File:"), flags=re.IGNORECASE)
    return " ".join(title.replace("_", " ").split())


def plain(text: object) -> str:
    """One line of printable text from a stranger's HTML; what the page hides is left out. None becomes empty."""
    stripper = _Text()
    stripper.feed("" if text is None else str(text))
    stripper.close()
    return " ".join("".join(c if c.isprintable() else " " for c in "".join(stripper.parts)).split())


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.hidden: list[str] = []  # the hidden element we are in, and its like inside of it

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        style = (dict(attributes).get("style") or "").replace(" ", "").lower()
        if tag in self.hidden or (not self.hidden and (tag in ("style", "script") or "display:none" in style)):
            self.hidden.append(tag)
        self.parts.append(" " if tag in ("br", "p", "li", "div", "tr", "td") else "")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.hidden:
            self.hidden.pop()

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)
