"""The page itself: Streamlit runs it from top to bottom whenever a reader touches something.

What a reader uploads is held by the reader's session alone and goes with it.
"""

import io
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import streamlit as st

from datasets.named import LARGEST_UPLOAD, Upload
from experiments import classifier, runs, shell
from experiments.app import drawings
from experiments.classifier import Classifier, Verdict
from experiments.material import choose_device
from experiments.views import under

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
AT_ONCE = 2  # readers whose files are decoded, each by a process of its own; the others wait
MOST_FILES = 200  # at once
MOST_BYTES = 10 * LARGEST_UPLOAD  # of them together
FACTORS = (0.5, 1, 1.5, 2, 4, 8, 16, 64, 500)
CALLED = {"FAKE": "FAKE: generated, says the network", "REAL": "REAL: a photograph, says the network"}


def show(root: Path, folder: Path | None) -> None:
    """The whole page: by the run in `folder`, or by the one below `root` that was finished last."""
    st.set_page_config(page_title="Hueprint: real or generated?")
    st.title("Real or generated?")
    judge = _classifier(root, folder)
    if judge is None:
        return
    _say_whose(judge)
    files = _handed_over()
    if not files:
        st.info("Drop pictures above, or take a drawn example. They stay on this machine, and go with this page.")
        return
    verdicts = _judged(judge, files)
    names = [name for name, _ in files.values()]
    if len(files) > 1:
        _table(names, list(verdicts.values()), judge.threshold)
        place = st.selectbox("Look at one of them", range(len(files)), format_func=lambda place: names[place])
    else:
        place = 0
    key = list(files)[place]
    _detail(judge, key, *files[key], verdicts[key])


def _classifier(root: Path, folder: Path | None) -> Classifier | None:
    """That of the run which this session began with; None where there is none, and the page says what to do."""
    try:
        if "folder" not in st.session_state:
            st.session_state["folder"] = folder or runs.newest(root)
        return _loaded(st.session_state["folder"])
    except Exception as error:
        if (explained := shell.explain(error)) is None:
            raise
        st.session_state.pop("folder", None)
        print(f"app: {explained[1]}", file=sys.stderr)
        if isinstance(error, runs.NoRun) and folder is None:
            st.warning("There is no finished run yet. Make one, a matter of minutes, then look again:")
        else:
            st.error("The run cannot be used; the terminal where this page was started says why. A new one:")
        st.code("make run", language=None)
        st.button("Look again")
        return None


@st.cache_resource(max_entries=2, show_spinner="Loading the network")
def _loaded(folder: Path) -> Classifier:
    return classifier.load(folder, choose_device("auto"))


@st.cache_resource(show_spinner=False)
def _places() -> threading.Semaphore:
    return threading.Semaphore(AT_ONCE)


def _say_whose(judge: Classifier) -> None:
    facts = judge.facts
    low, high = facts["interval"]
    st.markdown(
        f"By the run `{facts['run']}`: network `{facts['model']}`, view `{facts['aug']}`, trained on "
        f"`{facts['data']}`. On its own {facts['test_images']:,} test images it is right in "
        f"{100 * facts['accuracy']:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f} %)."
    )
    if facts["data"] == "synthetic":
        st.caption("It has seen drawn pictures only: what it says of photographs means nothing.")


def _handed_over() -> dict[str, tuple[str, bytes]]:
    """What the reader uploaded, or else the example that was chosen: key -> printable name and bytes."""
    uploads = st.file_uploader(
        "Pictures", accept_multiple_files=True, help="JPEG, PNG, WebP, GIF (first frame), BMP, TIFF, AVIF"
    )
    examples = sorted(path.name for path in EXAMPLES.glob("*.jpg"))
    chosen = st.pills("Or a drawn example", examples, disabled=bool(uploads))
    if not uploads:
        return {chosen: (chosen, (EXAMPLES / chosen).read_bytes())} if chosen else {}
    taken: dict[str, tuple[str, bytes]] = {}
    room = MOST_BYTES
    for upload in uploads[:MOST_FILES]:
        if (room := room - upload.size) < 0:
            break
        name = upload.name if upload.name.isprintable() else ascii(upload.name)
        taken[upload.file_id] = (name, upload.getvalue())
    if len(taken) < len(uploads):
        st.warning(
            f"Only the first {len(taken)} of {len(uploads)} files are looked at: at most {MOST_FILES} files of "
            f"{MOST_BYTES // 2**20} MB together. python scripts/predict.py takes any number."
        )
    return taken


def _judged(judge: Classifier, files: Mapping[str, tuple[str, bytes]]) -> dict[str, Verdict]:
    """Of each file its verdict; what was judged before in this session is remembered."""
    known = st.session_state.get("judged", {})
    new = [key for key in files if key not in known]
    if new:
        with st.spinner(f"Looking at {len(new)} pictures" if len(new) > 1 else "Looking"), _places():
            verdicts = judge.judge([Upload(files[key][1]) for key in new])
            known = known | dict(zip(new, verdicts, strict=True))
    st.session_state["judged"] = {key: known[key] for key in files}
    return st.session_state["judged"]


def _table(names: list[str], verdicts: list[Verdict], threshold: float) -> None:
    rows = [
        verdict.row(name) | {"verdict": verdict.word or "not scored"}
        for name, verdict in zip(names, verdicts, strict=True)
    ]
    counts = {word: sum(verdict.word == word for verdict in verdicts) for word in CALLED}
    bad = sum(bool(verdict.bad) for verdict in verdicts)
    said = [f"{number} {word}" for word, number in counts.items()] + [f"{bad} not scored"] * bool(bad)
    st.subheader(f"{len(names)} files: {', '.join(said)}")
    columns = {
        "probability": st.column_config.ProgressColumn("probability", format="%.3f", min_value=0, max_value=1),
        "path": st.column_config.TextColumn("file", width="medium"),
    }
    # the name, which may be long, behind what everybody looks for: a telephone shows two columns
    order = ("verdict", "probability", "path", "unlike", "reason")
    st.dataframe(rows, hide_index=True, column_config=columns, column_order=order)
    table = io.StringIO()
    classifier.write_rows(table, zip(names, verdicts, strict=True), threshold)
    st.download_button("Download as CSV", table.getvalue(), "scores.csv", "text/csv", on_click="ignore")


def _detail(judge: Classifier, key: str, name: str, data: bytes, verdict: Verdict) -> None:
    """One file: its verdict, what the network saw and where it looked, and its colours to play with."""
    st.text(name)
    if verdict.bad:
        st.error(f"Not scored: {_plain(verdict.bad)}")
        return
    st.subheader(CALLED[verdict.word])
    st.html(drawings.meter(verdict, judge.threshold))
    if verdict.unlike:
        st.warning(f"Unlike the training data: {_plain(verdict.unlike)}. The verdict is then a guess.")
    if st.session_state.get("looked", ("",))[0] != key:
        with _places():
            [picture], pixels = judge.decoded([Upload(data)])
        [seen], [heat] = judge.explained(pixels)
        st.session_state["looked"] = key, drawings.enlarged(picture), drawings.enlarged(seen), heat
    _, picture, seen, heat = st.session_state["looked"]
    shown = {
        "as it is": picture,
        "as the network sees it": seen,
        "where it finds evidence of fake": drawings.heated(seen, heat),
    }
    for column, (caption, pixels) in zip(st.columns(len(shown)), shown.items(), strict=True):
        column.image(pixels, caption=caption, width="stretch")
    if not heat.any():
        st.caption("Nowhere: all it finds speaks for real.")
    _colours(picture)


@st.fragment
def _colours(picture: np.ndarray) -> None:
    """The picture inverted and saturated, live: only this part is made anew."""
    st.subheader("Inverted and saturated")
    inverted = st.toggle("Invert first", value=True)
    space = st.radio("Space of the saturation", ("luma", "hsv"), horizontal=True)
    factor = st.select_slider("Factor of the saturation", FACTORS, value=8)
    operations = [{"op": "invert"}] * inverted + [{"op": "saturate", "space": space, "factor": float(factor)}]
    st.image(under(picture[None], operations)[0], width=drawings.SHOWN, caption=f"{space} x{factor:g}")


def _plain(text: str) -> str:
    """Markdown that shows the text as it stands."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


if __name__ == "__main__":
    show(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
