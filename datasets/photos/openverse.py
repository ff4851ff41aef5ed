"""Openverse: photographs of many collections found by its search API, https://api.openverse.org/v1/."""

from collections.abc import Iterator, Sequence
from typing import Any

from datasets.manifest import DataError
from datasets.photos.api import Service, ServiceError
from datasets.photos.candidates import Candidate, license_family, plain, plain_title

NAME = "Openverse"
API = "https://api.openverse.org/v1/images/"
HOSTS = ("*.staticflickr.com", "upload.wikimedia.org")  # of the two collections that hold most of its photographs
PAGE_SIZE = 20  # the most that is given without an account
PAGES = 20


def candidates(service: Service, query: str, *, licenses: Sequence[str]) -> Iterator[Candidate]:
    """Photographs that the search finds, best first; never more than 400, for Openverse forbids to copy its catalogue.

    licenses: families such as "CC BY-SA". A picture's day is that on which Openverse first listed it (`indexed_on`): it
    was public by then, and Openverse does not say since when. Raises ServiceError; DataError where it knows none of
    the licences.
    """
    codes = [code for license in licenses if (code := _code(license))]
    if not codes:
        raise DataError(f"--accept-licenses {' '.join(licenses)}: Openverse knows none of them")
    question: dict[str, str | int] = {
        "q": query,
        "license": ",".join(codes),
        "category": "photograph",
        "page_size": PAGE_SIZE,
    }
    for number in range(1, PAGES + 1):
        try:
            answer = service.ask(question | {"page": number})
        except ServiceError as error:
            # How many pages there are without an account has changed before.
            if number > 1 and error.status in (400, 401, 404):
                return
            raise
        try:
            found = [_candidate(picture) for picture in answer["results"]]
            last = number >= answer["page_count"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ServiceError(
                f"{service.name}: {service.url} does not answer as Openverse does; check --api"
            ) from error
        yield from found
        if last:
            return


def _candidate(picture: dict[str, Any]) -> Candidate:
    def said(name: str) -> str:
        return plain(picture.get(name))

    kind = said("filetype").lower().replace("jpg", "jpeg")
    return Candidate(
        source="openverse",
        origin=picture["foreign_landing_url"] or picture["id"],
        page=picture["foreign_landing_url"] or "",
        url=picture["url"] or "",
        title=plain_title(said("title")),
        author=said("creator"),
        credit=said("attribution"),
        license=_short_name(said("license").lower(), said("license_version")),
        license_url=said("license_url"),
        uploaded=said("indexed_on")[:10],
        width=int(picture.get("width") or 0),
        height=int(picture.get("height") or 0),
        mime=f"image/{kind}" if kind else "",
        hints=" ".join(plain(tag["name"]) for tag in picture.get("tags") or []),
    )


def _code(license: str) -> str:
    family = license_family(license).lower()
    return {"cc0": "cc0", "public domain": "pdm"}.get(
        family, family.removeprefix("cc ") if family.startswith("cc by") else ""
    )


def _short_name(code: str, version: str) -> str:
    if code in ("cc0", "pdm"):
        return {"cc0": "CC0", "pdm": "Public domain"}[code]
    return f"CC {code.upper()} {version}".strip() if code else ""
