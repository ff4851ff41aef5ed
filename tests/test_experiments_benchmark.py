"""The benchmark without its clock: PARENT is what it says, both sides read the same files, verdicts follow figures."""

import io
import sys
import time
import zipfile
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.manifest import DataError
from detector.batches import Pictures
from detector.color import build_view
from detector.models import MODELS
from experiments.benchmark import child, machines, measuring, ours, page, parent, pictures, rows, scaling
from experiments.benchmark.material import QUICK, Material, sizes_of


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Twenty training and ten test pictures, unpacked."""
    return pictures.write_tree(pictures.drawn_files({"train": 20, "test": 10}), tmp_path_factory.mktemp("cifake"))


@pytest.mark.parametrize(
    ("invert", "factor", "view"),
    [(True, 8.0, ours.INVERTED_X8), (False, 500.0, [{"op": "saturate", "space": "luma", "factor": 500.0}])],
)
def test_the_transform_of_parent_is_ours(invert, factor, view):
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    theirs = parent.ColourDetector(torch.nn.Identity(), invert=invert, factor=factor)(images)
    mine = build_view(view)(images, 0, torch.arange(16))
    assert not torch.allclose(theirs, images, atol=0.1)
    # the weights of red, .299 and .2989, move a value by factor / 10,000 at most before it is clamped
    assert (theirs - mine).abs().max() < 1.1e-4 * factor


def test_the_plain_view_of_parent_is_none():
    images = torch.rand(2, 3, 32, 32)
    assert parent.ColourDetector(torch.nn.Identity())(images) is images


@pytest.mark.parametrize(("network", "model", "side"), [("a32", "cnn32", 32), ("a720", "cnn720", 64)])
def test_the_networks_of_parent_are_ours_given_the_same_weights(network, model, side):
    theirs = parent.NETWORKS[network]().double().eval()
    mine = MODELS[model]().build(image_size=(side, side)).double().eval()
    for mine_of, theirs_of in zip(mine.parameters(), theirs.parameters(), strict=True):
        theirs_of.data.copy_(mine_of.data)
    images = torch.rand(4, 3, side, side, dtype=torch.float64)
    torch.testing.assert_close(theirs(images), mine(images))
    if network == "a32":
        assert sum(parameter.numel() for parameter in theirs.parameters()) == 634_305


def test_parent_reads_fake_as_1_whatever_the_alphabet_says(tree):
    found = parent.pictures(tree / "train")
    labels = {path.split("/")[-2]: found[index][1] for index, (path, _) in enumerate(found.samples)}
    assert labels == {"FAKE": True, "REAL": False} and len(found) == 20
    assert parent.pictures(tree / "test", 48)[0][0].shape == (3, 48, 48)


def test_parent_learns_and_says_when_each_step_ended():
    torch.manual_seed(0)
    model = parent.ColourDetector(parent.a32())
    optimizer = torch.optim.Adam(model.parameters())
    images = torch.rand(32, 3, 32, 32) * 0.2 + 0.7 * (torch.arange(32) % 2).view(-1, 1, 1, 1)
    batches, ends = [(images, torch.arange(32) % 2 == 1)] * 30, []
    parent.train(model, batches, optimizer, "cpu", ends)
    assert parent.evaluate(model, batches[:1], "cpu") == 1 and not model.training
    assert len(ends) == 30 and ends == sorted(ends)


def test_tree_and_archive_hold_the_same_pictures_half_of_them_fake(tmp_path):
    source = pictures.Pictures(pictures.drawn_files({"train": 40, "test": 16}), "drawn")
    material = Material(source, tmp_path, sizes_of(20, quick=True))
    with zipfile.ZipFile(material.archive) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    unpacked = {str(file.relative_to(material.tree)): file.read_bytes() for file in material.tree.rglob("*.jpg")}
    assert packed == unpacked and len(packed) == 24 and len(set(packed.values())) == 24
    for split, half in (("train", 10), ("test", 2)):
        assert sum(name.startswith(f"{split}/FAKE/") for name in packed) == half
    with pytest.raises(DataError, match=r"train/FAKE: holds 20 pictures; needed are 625"):
        Material(source, tmp_path, QUICK).short  # noqa: B018 - what is written is asked for


@pytest.mark.parametrize(("kind", "size"), [(pictures.Drawn, (32, 32)), (pictures.DrawnLarge, (1344, 768))])
def test_drawn_pictures_are_jpegs_of_their_size_each_its_own(kind, size):
    image = Image.open(io.BytesIO(kind(0).read()))
    assert (image.format, image.size, image.mode) == ("JPEG", size, "RGB")
    assert kind(0).read() == kind(0).read() != kind(1).read()
    assert np.asarray(image).std() > 20


def result(ratios, at_least=None, at_most=None, **more):
    return measuring.Result("a", "b", "s", at_least, at_most, [1.0] * len(ratios), [2.0] * len(ratios), ratios, **more)


@pytest.mark.parametrize(
    ("ratios", "asked", "verdict"),
    [
        ([2.4, 2.5, 9.0], {"at_least": 2.5}, "reached"),
        ([2.4, 2.49, 9.0], {"at_least": 2.5}, "not reached"),
        ([1.0, 1.03, 1.2], {"at_most": 1.03}, "reached"),
        ([1.0, 1.031, 1.2], {"at_most": 1.03}, "not reached"),
        ([5.0], {}, "-"),
        ([], {"at_least": 2.5}, "not measured"),
        ([9.0], {"at_least": 2.5, "failure": "it stopped"}, "not measured"),
    ],
)
def test_the_verdict_goes_by_the_median_of_the_rounds(ratios, asked, verdict):
    assert result(ratios, **asked).verdict == verdict


@pytest.mark.parametrize(
    ("unit", "at_most", "ratio"), [("images/s", None, 2.0), ("s", None, 0.5), ("ms", 1.03, 2.0), ("MiB", 1.0, 2.0)]
)
def test_faster_is_above_one_and_more_of_something_is_too(unit, at_most, ratio):
    row = rows.Row("a", "b", unit, lambda _: 4.0, lambda _: 2.0, at_most=at_most)
    assert row.compare(4.0, 2.0, None) == ratio


def test_a_row_that_fails_is_named_and_the_others_go_on(tmp_path):
    def fail(_):
        raise child.Failed("python -m something: exit status 1: no")

    sides = []
    chosen = {
        "broken": rows.Row("a", "b", "s", lambda _: 1.0, fail, at_least=2),
        "whole": rows.Row("c", "d", "s", lambda _: sides.append("ours") or 1.0, lambda _: sides.append("other") or 3.0),
    }
    kept = []
    material = Material(pictures.Pictures([], ""), tmp_path, QUICK)
    found = measuring.measure(chosen, material, device="cpu", rounds=2, say=lambda _: None, keep=kept.append)
    assert len(kept) == 2 and found["whole"].ratios == [3.0, 3.0]
    assert sides == ["ours", "other", "other", "ours"]  # in turn
    assert found["broken"].verdict == "not measured" and "exit status 1: no" in found["broken"].failure
    text = page.table({name: row.as_dict() for name, row in found.items()})
    assert [line.split("|")[-2].strip() for line in text.splitlines()[2:]] == ["not measured", "-"]


def test_what_other_machines_take_of_the_processor_stands_beside_the_row(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    monkeypatch.setattr(machines, "STAT", stat)
    seen = {}
    for stolen in (0, 30):
        stat.write_text("cpu  100 0 50 200 10 0 5 40 0 0\ncpu0 1 1\n")
        spent = f"cpu  {170 - stolen} 0 50 230 10 0 5 {40 + stolen} 0 0\n"
        row = rows.Row("a", "b", "s", lambda _, text=spent: stat.write_text(text) and 1.0, lambda _: 2.0)
        material = Material(pictures.Pictures([], ""), tmp_path, QUICK)
        told = measuring.measure({"a": row}, material, device="cpu", rounds=1, say=str, keep=str)["a"].as_dict()
        machine = dict.fromkeys(("cpus", "processor", "system", "python", "torch", "torchvision", "gpu"), "")
        report = {"rounds": 1, "quick": False, "machine": machine, "data": "", "rows": {"a": told}}
        seen[stolen] = page.section(report)
    assert "other machines took up to 30% of the processor" in seen[30] and "other machines" not in seen[0]


def test_every_row_of_the_issue_is_asked_for_and_on_a_gpu_three_others():
    asked = {name: row.at_least or row.at_most for name, row in rows.choose(None, "cpu").items()}
    assert [bound for bound in asked.values() if bound] == [2.5, 3.5, 3.0, 3.8, 6.0, 1.03, 2.0, 4.0, 5.0, 5.0, 1.0]
    told = {name for name, row in rows.choose(None, "cuda").items() if not (row.at_least or row.at_most)}
    assert {"epoch", "evaluation"} < told and not {"recipe", "sixty", "fast"} & told


def test_a_program_is_timed_and_its_memory_known():
    code = (
        "import time; print('one', flush=True); time.sleep(.2); x = bytearray({}); x[::4096] = x[::4096]; print('{{}}')"
    )
    finished = child.run([sys.executable, "-c", code.format(1)])
    assert [text for _, text in finished.lines] == ["one", "{}"] and finished.answer == {}
    assert finished.lines[0][0] <= finished.lines[1][0] and finished.seconds >= 0.2
    # the peak counts from what the parent holds, and this process holds torch
    measure = f"print([child.run([sys.executable, '-c', {code!r}.format(n)]).peak_mib for n in (1, 10**8)])"
    small, large = child.run(
        [sys.executable, "-c", f"import sys; from experiments.benchmark import child; {measure}"]
    ).answer
    assert 80 < large - small < 110


def test_a_program_that_ends_badly_is_one_line():
    with pytest.raises(child.Failed, match=r"^python -c .*: exit status 3: the reason$"):
        child.run(
            [sys.executable, "-c", "import sys; print('x', file=sys.stderr); sys.stderr.write('the reason'); exit(3)"]
        )


def test_a_program_is_ended_once_what_it_does_was_seen(tmp_path):
    code = f"import time; open({str(tmp_path / 'seen')!r}, 'w'); time.sleep(60)"
    seconds = child.until([sys.executable, "-c", code], lambda: 2e9 if (tmp_path / "seen").exists() else None)
    assert seconds == pytest.approx(2e9 - time.time(), abs=60)  # from the start to what was seen
    with pytest.raises(child.Failed, match="exit status 0: nothing on stderr"):
        child.until([sys.executable, "-c", "pass"], lambda: None)


def test_a_step_takes_time_also_where_its_loss_is_looked_at_once_an_epoch_as_on_cuda(monkeypatch):
    monkeypatch.setattr("detector.train.waits_long", lambda device: True)
    monkeypatch.setattr(ours, "as_a_run", lambda: 1)
    for module, name, number in ((ours, "STEPS", 2), (ours, "BATCH", 8), (scaling, "STEPS", 2), (scaling, "LOOKS", 2)):
        monkeypatch.setattr(module, name, number)
    noise = np.random.default_rng(0).integers(0, 256, (100, 32, 32, 3), np.uint8)
    drawn = Pictures(noise, np.arange(100) % 2, torch.device("cpu"))
    for count in (100, 10):  # looks, and fewer pictures than one needs
        times = ours.timed_steps(drawn, torch.arange(count), build_view([]), "fp32")
        assert min(islice(times, 4)) > 1e-4
    assert scaling.together_seconds(2, "cpu") > 1e-4 and scaling.side_seconds(32, "cpu", steps=1) > 1e-4


def test_a_curve_turns_where_the_growing_part_becomes_the_larger():
    line = scaling.fit_line([1, 10, 100, 1000], [4.02, 4.2, 6, 24])
    assert (line.fixed, line.growing) == (pytest.approx(4), pytest.approx(0.02))
    assert (
        scaling.fit_line([1, 2, 4], [2.0, 2.0, 1.9]).growing == 0 == scaling.fit_line([1, 2, 4], [1.0, 2.0, 4.1]).fixed
    )
    points = [(side, 0.5 + side**2 / 8192) for side in (32, 64, 128, 256)]
    assert scaling.limits("side", points)[0] == pytest.approx(64)
    assert "up to the largest" in scaling.limits("models", [(1, 2.0), (2, 2.0), (4, 1.9)])[1]
    assert "from the smallest on" in scaling.limits("models", [(1, 1.0), (2, 2.0), (4, 4.1)])[1]


def test_the_picture_of_scaling_marks_the_turning_point_on_logarithmic_axes(tmp_path):
    from experiments.benchmark import drawing

    curves = {
        "images": [(x, 6 + x / 2000) for x in (1e4, 1e5, 1e6)],
        "models": [(x, 0.01 * x) for x in (1, 4, 16)],
        "side": [(x, 0.5 + x**2 / 8192) for x in (32, 64, 256)],
    }
    figure = drawing.draw(curves, "a machine")
    assert all(axes.get_xscale() == axes.get_yscale() == "log" for axes in figure.axes)
    marks = [[line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"] for axes in figure.axes]
    assert marks == [[pytest.approx(12_000)], [], [pytest.approx(64)]]
    drawing.save(curves, "a machine", tmp_path / "scaling.png")
    with Image.open(tmp_path / "scaling.png") as drawn:
        assert drawn.width > 1200
