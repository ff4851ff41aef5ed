"""The walls of the house: which folder may import what, read from the import statements themselves."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "datasets": {"datasets", "numpy", "PIL", "requests", "urllib3", "replicate", "httpx", "tqdm"},
    "detector": {"detector", "numpy", "torch", "kornia", "torchvision"},
    "experiments": {
        *("experiments", "datasets", "detector", "numpy", "PIL", "tqdm", "torch"),
        *("hydra", "omegaconf", "yaml", "tensorboard", "matplotlib"),
    },
    "scripts": {"datasets", "experiments"},
}
EXCEPTIONS = {
    # FLUX.1-schnell on this machine: imported only where it is asked for
    "datasets/flux/local.py": {"torch", "diffusers"},
    # the extra, imported only where something is to be in-painted
    "datasets/inpaint.py": {"cv2"},
    # the plain way of others, which reads pictures with torchvision
    "experiments/benchmark/parent.py": {"torchvision"},
    # the extra: nothing else needs what serves the page and the endpoint
    "experiments/app/__init__.py": {"starlette", "streamlit"},
    "experiments/app/page.py": {"streamlit"},
    "experiments/endpoint.py": {"fastapi", "fastapi_offline", "starlette", "uvicorn"},
    # the extra, imported only where a run is exported
    "experiments/deployed.py": {"onnx", "onnxruntime", "safetensors"},
    # the extra: nothing else needs it
    **{key: {"optuna"} for key in ("experiments/search.py", "experiments/trials.py", "experiments/winner.py")},
}
FILES = [path for folder in MAY_IMPORT for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Top-level packages named by any import statement of a file, wherever it stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full name"
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_folder_may_know(path):
    folder = path.relative_to(ROOT).parts[0]
    assert imported(path) <= MAY_IMPORT[folder] | EXCEPTIONS.get(path.relative_to(ROOT).as_posix(), set())


def test_the_manifest_imports_nothing_of_ours():
    assert imported(ROOT / "datasets" / "manifest.py") == set()


def test_datasets_is_this_repository_and_not_a_package_of_the_same_name():
    import datasets

    assert Path(datasets.__file__).parent == ROOT / "datasets"


def test_no_drawer_no_base_house():
    assert not [path for path in FILES if path.stem in ("utils", "helpers", "common", "misc")]


def test_no_module_of_ours_has_the_name_of_one_of_the_other_datasets_package():
    theirs = (
        "builder combine config data_files download exceptions features filesystems fingerprint formatting hub info "
        "inspect io load naming parallel search splits streaming table utils"
    )
    assert not {path.stem for path in (ROOT / "datasets").iterdir()} & set(theirs.split())
