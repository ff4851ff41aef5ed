"""Wikimedia Commons: photographs found by its search API, https://www.mediawiki.org/wiki/API:Search."""

from collections.abc import Iterator
from typing import Any

from datasets.photos.api import Service, ServiceError
from datasets.photos.candidates import Candidate, plain, plain_title

NAME = "Wikimedia Commons"
API = "https://commons.wikimedia.org/w/api.php"
HOSTS = ("upload.wikimedia.org",)
# The only widths at which Wikimedia gives pictures made smaller, as far as they are large enough here.
WIDTHS = (960, 1280, 1920)
QUESTION: dict[str, str | int] = {
    "action": "query",
    "format": "json",
    "formatversion": 2,
    "generator": "search",
    "gsrnamespace": 6,
    "gsrlimit": 50,
    "prop": "imageinfo",
    "iiprop": "url|size|mime|sha1|timestamp|user|extmetadata",
    "maxlag": 5,
}
HINTS = ("Categories", "ImageDescription", "ObjectName", "Credit")


def candidates(service: Service, query: str, *, width: int | None) -> Iterator[Candidate]:
    """JPEG files that the search finds, best first; asked for page by page.

    width: in pixels, one of WIDTHS, at which the files are wanted (smaller ones come as they are); None: the originals.
    A file's day is that of its last version. Raises ServiceError.
    """
    question = QUESTION | {"gsrsearch": f"filetype:bitmap filemime:image/jpeg {query}"}
    if width is not None:
        question["iiurlwidth"] = width
    rest: dict[str, Any] = {}
    batch: dict[int, dict] = {}
    while True:
        answer = service.ask(question | rest)
        try:
            for page in answer.get("query", {}).get("pages", []):
                # Of a batch that comes in pieces, a later piece may bring an older version of a file.
                known = batch.setdefault(page["pageid"], page)
                known.setdefault("imageinfo", page.get("imageinfo", []))
                known["imageinfo"] = known["imageinfo"] or page.get("imageinfo", [])
            following = dict(answer.get("continue", {}))
            found = []
            if answer.get("batchcomplete") or not following:
                found = [_candidate(page) for page in sorted(batch.values(), key=lambda page: page.get("index", 0))]
                batch = {}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ServiceError(
                f"{service.name}: {service.url} does not answer as MediaWiki does; check --api"
            ) from error
        yield from found
        if not following:
            return
        if following == rest:
            raise ServiceError(f"{service.name}: the search goes round in circles; other words of --query may help")
        rest = following


def _candidate(page: dict[str, Any]) -> Candidate:
    title = page["title"]
    info: dict[str, Any] = next(iter(page["imageinfo"]), {})
    about = info.get("extmetadata") or {}

    def said(name: str) -> str:
        return plain(about[name].get("value")) if name in about else ""

    smaller = "thumburl" in info
    return Candidate(
        source="commons",
        origin=info.get("descriptionurl") or f"https://commons.wikimedia.org/wiki/{title.replace(' ', '_')}",
        page=info.get("descriptionurl") or f"https://commons.wikimedia.org/wiki/{title.replace(' ', '_')}",
        url=info.get("thumburl") or info.get("url", ""),
        title=plain_title(plain(title)),
        author=said("Artist"),
        credit=said("Credit"),
        license=said("LicenseShortName"),
        license_url=said("LicenseUrl"),
        uploaded=str(info.get("timestamp", ""))[:10],
        width=int(info.get("thumbwidth" if smaller else "width", 0)),
        height=int(info.get("thumbheight" if smaller else "height", 0)),
        mime=str(info.get("mime", "")),
        hints=" ".join(map(said, HINTS)),
    )
