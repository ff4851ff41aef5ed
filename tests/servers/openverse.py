"""Openverse on this machine: its search API, and the pictures it points to; drawn, with faults on demand.

python tests/servers/openverse.py --port 8003
"""

import argparse
import sys
import uuid
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from servers.photo_host import Answers, File, Local, serve, trial_files

PAGES = 20
CODES = {
    "CC BY-SA": ("by-sa", "2.0"),
    "CC BY": ("by", "2.0"),
    "CC0": ("cc0", "1.0"),
    "Public domain": ("pdm", "1.0"),
    "CC BY-NC": ("by-nc", "2.0"),
    "CC BY-ND": ("by-nd", "2.0"),
}


class Api(Answers):
    server: "Openverse"

    def api(self, question: dict[str, str]) -> None:
        page, size = int(question.get("page", 1)), int(question.get("page_size", 20))
        if size > 20:
            return self.answer(401, {"Content-Type": "application/json"}, b'{"detail": "page_size must be at most 20"}')
        if page > PAGES:
            return self.answer(400, {"Content-Type": "application/json"}, b'{"detail": {"page": ["too large"]}}')
        wanted = set(question["license"].split(","))
        words = question["q"].lower().split()
        found = [
            file
            for file in self.server.files
            if code_of(file)[0] in wanted and all(word in f"{file.name} {file.about}".lower() for word in words)
        ]
        found = found if question.get("category") == "photograph" else []
        self.server.left -= 1
        headers = {
            "X-RateLimit-Limit-anon_burst": "20/min",
            "X-RateLimit-Available-anon_burst": str(max(0, self.server.left)),
            "X-RateLimit-Limit-anon_sustained": "200/day",
            "X-RateLimit-Available-anon_sustained": str(self.server.left_today),
        }
        answer = {
            "result_count": len(found),
            "page_count": min(PAGES, -(-len(found) // size)),
            "page_size": size,
            "page": page,
            "results": [self.result(file) for file in found[(page - 1) * size : page * size]],
        }
        return self.json(answer, headers)

    def result(self, file: File) -> dict:
        code, version = code_of(file)
        number = uuid.uuid5(uuid.NAMESPACE_URL, file.name)
        title = file.name.rpartition(".")[0]
        host = "https://elsewhere.example.org" if file.fault == "elsewhere" else self.server.root
        return {
            "id": str(number),
            "title": title,
            "indexed_on": None if file.uploaded == "" else file.uploaded.replace("Z", ".123456Z"),
            "foreign_landing_url": f"https://www.flickr.com/photos/1@N02/{number.int % 10**10}",
            "url": f"{host}/pictures/{quote(file.name)}",
            "creator": "Ada Example",
            "creator_url": "https://www.flickr.com/photos/1@N02",
            "license": code,
            "license_version": version,
            "license_url": f"https://creativecommons.org/licenses/{code}/{version}/",
            "provider": "flickr",
            "source": "flickr",
            "category": "photograph",
            "filesize": None,
            "filetype": "svg" if "svg" in file.mime else "jpg",
            "tags": [{"name": word, "accuracy": None} for word in file.about.lower().split()],
            "attribution": f'"{title}" by Ada Example is licensed under {code} {version}.',
            "fields_matched": ["title"],
            "mature": False,
            "height": file.height if self.server.sizes else None,
            "width": file.width if self.server.sizes else None,
            "thumbnail": f"{self.server.root}/v1/images/{number}/thumb/",
            "detail_url": f"{self.server.root}/v1/images/{number}/",
            "related_url": f"{self.server.root}/v1/images/{number}/related/",
        }

    def picture(self, path: str) -> None:
        file = next((file for file in self.server.files if f"/pictures/{file.name}" == path), None)
        if file is None:
            return self.answer(404, {"Content-Type": "text/html"}, b"<html>not found</html>")
        return self.give(file, None)


class Openverse(Local):
    """left, left_today: how many more questions its allowances permit; it only says so, tests watch who heeds it.

    sizes: whether it knows how large the pictures are, which the real one not always does.
    """

    handler = Api
    api_path = "/v1/images/"
    left = 20
    left_today = 180
    sizes = True

    @property
    def api(self) -> str:
        return f"{self.root}{self.api_path}"


def code_of(file: File) -> tuple[str, str]:
    return next(
        (codes for name, codes in CODES.items() if file.license in (name, f"{name} {file.license[-3:]}")), ("?", "")
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8003)
    files = [*trial_files(), File("Conference speaker elsewhere.jpg", fault="elsewhere")]
    serve(Openverse(files, parser.parse_args().port), "conference speaker", " --source openverse")
