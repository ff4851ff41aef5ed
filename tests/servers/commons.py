"""Wikimedia Commons on this machine: its search API and its file host.

python tests/servers/commons.py --port 8002
"""

import argparse
import hashlib
import sys
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from servers.photo_host import Answers, File, Local, serve, trial_files

THUMB_WIDTHS = (20, 40, 60, 120, 250, 330, 500, 960, 1280, 1920, 3840)
ASKED = {"action": "query", "format": "json", "formatversion": "2", "generator": "search", "prop": "imageinfo"}


class MediaWiki(Answers):
    server: "Commons"

    def api(self, question: dict[str, str]) -> None:
        asked = {key: question.get(key) for key in ASKED}
        if asked != ASKED:
            return self.json({"error": {"code": "badvalue", "info": f"Unrecognized value among {asked}."}})
        width = int(question["iiurlwidth"]) if "iiurlwidth" in question else None
        if width not in (None, *THUMB_WIDTHS):
            return self.json({"error": {"code": "badvalue", "info": f"{width} is no standard size."}})
        words = [word for word in question["gsrsearch"].lower().split() if ":" not in word]
        found = [
            (index, file)
            for index, file in enumerate(self.server.files, start=1)
            if all(word in f"{file.name} {file.about}".lower() for word in words)
        ]
        start, limit = int(question.get("gsroffset", 0)), min(int(question["gsrlimit"]), self.server.batch)
        batch = found[start : start + limit]
        answer: dict = {}
        if batch:
            # As in the wild the pages come in the order of their numbers, not of their rank.
            pages = [self.page(index, file, width) for index, file in reversed(batch)]
            answer["query"] = {"pages": pages}
        if self.server.in_pieces and batch and "iicontinue" not in question:
            for page in pages[len(pages) // 2 :]:
                del page["imageinfo"]
            rest = {"gsroffset": start} if start else {}
            answer["continue"] = rest | {"iicontinue": "Some_file.jpg|20150301120000", "continue": "gsroffset||"}
            return self.json(answer)
        answer["batchcomplete"] = True
        if start + limit < len(found):
            answer["continue"] = {"gsroffset": start + limit, "continue": "gsroffset||"}
        return self.json(answer)

    def page(self, index: int, file: File, width: int | None) -> dict:
        name = file.name.replace(" ", "_")
        folder = hashlib.md5(name.encode()).hexdigest()
        place = f"{folder[0]}/{folder[:2]}/{quote(name)}"
        info = {
            "timestamp": file.uploaded,
            "user": "Uploader",
            "size": 123456,
            "width": file.width,
            "height": file.height,
            "sha1": hashlib.sha1(name.encode()).hexdigest(),
            "url": f"{self.server.root}/wikipedia/commons/{place}",
            "descriptionurl": f"https://commons.wikimedia.org/wiki/File:{quote(name)}",
            "descriptionshorturl": f"https://commons.wikimedia.org/w/index.php?curid={1000 - index}",
            "mime": file.mime,
        }
        if width is not None and width < file.width:
            info["thumburl"] = f"{self.server.root}/wikipedia/commons/thumb/{place}/{width}px-{quote(name)}"
            info |= {"thumbwidth": width, "thumbheight": round(file.height * width / file.width)}
        elif width is not None:
            info |= {"thumburl": info["url"], "thumbwidth": file.width, "thumbheight": file.height}
        said = {
            "DateTime": "2015-03-01 12:00:00",
            "ObjectName": file.name.rpartition(".")[0],
            "Categories": file.categories,
            "ImageDescription": file.about,
            "Artist": file.author,
            "Credit": '<span class="int-own-work" lang="en">Own work</span>',
            "LicenseShortName": file.license,
            "LicenseUrl": "https://creativecommons.org/licenses/" if file.license.startswith("CC") else "",
            "AttributionRequired": "true",
        }
        info["extmetadata"] = {
            key: {"value": value, "source": "commons-desc-page", "hidden": ""} for key, value in said.items() if value
        }
        title = f"File:{file.name}"
        return {"pageid": 1000 - index, "ns": 6, "title": title, "index": index, "imageinfo": [info]}

    def picture(self, path: str) -> None:
        parts = path.removeprefix("/wikipedia/commons/").split("/")
        thumb = parts[0] == "thumb"
        name = parts[3 if thumb else 2].replace("_", " ")
        width = int(parts[4].partition("px-")[0]) if thumb else None
        file = next((file for file in self.server.files if file.name == name), None)
        if file is None or width not in (None, *THUMB_WIDTHS):
            return self.answer(
                400 if file else 404, {"Content-Type": "text/html"}, b"<html>no such file or size</html>"
            )
        return self.give(file, width)


class Commons(Local):
    """batch: the most results it gives at once; in_pieces: each batch comes in two answers, as in the wild."""

    handler = MediaWiki
    api_path = "/w/api.php"
    batch = 50
    in_pieces = False

    @property
    def api(self) -> str:
        return f"{self.root}{self.api_path}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8002)
    serve(Commons(trial_files(), parser.parse_args().port), "conference speaker")
