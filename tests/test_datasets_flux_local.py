"""The real pipeline of diffusers runs with a network of a few thousand random weights; the trained one needs 34 GB."""

import importlib.util
import io
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.flux.local import EXTRA, DiffusersGenerator, WeightsError
from datasets.manifest import DataError

needs_extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in EXTRA),
    reason='the extra [local] is not installed: pip install -e ".[local]"',
)


@pytest.fixture
def installed(monkeypatch):
    """As if the extra were installed, for what is checked before anything of it is imported."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"width": 1000}, "width=1000: expected a multiple of 16 pixels"),
        ({"height": 0}, "height=0: expected a multiple of 16 pixels"),
        ({"steps": 0}, "steps=0: expected 1 or more"),
        ({"device": "gpu"}, "device='gpu': expected one of auto, cpu, cuda, mps"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(installed, settings, reason):
    with pytest.raises(DataError) as caught:
        DiffusersGenerator(**{"width": 64, "height": 64} | settings)
    assert str(caught.value) == reason


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "diffusers" else found("torch"))
    with pytest.raises(DataError) as caught:
        DiffusersGenerator(width=64, height=64)
    assert str(caught.value) == 'pictures on this machine need diffusers: pip install -e ".[local]"'


def test_the_record_names_everything_that_makes_the_picture(installed):
    assert DiffusersGenerator(width=64, height=32).record == {
        "generator": "diffusers",
        "model": "black-forest-labs/FLUX.1-schnell",
        "steps": 4,
        "width": 64,
        "height": 32,
        "versions": dict.fromkeys(EXTRA, "1.0"),
    }


def test_the_module_alone_imports_neither_torch_nor_diffusers():
    program = (
        "import sys, datasets.flux.local; sys.exit(bool({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[1]).returncode == 0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with a whole FluxPipeline of the real classes, its sizes as small as they go, its weights drawn."""
    import torch
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    marks = ["<|startoftext|>", "<|endoftext|>"]
    clip_words = {word: index for index, word in enumerate([*letters, *(f"{c}</w>" for c in letters), *marks])}
    t5_words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -1.0), *((c, -2.0) for c in letters)]
    torch.manual_seed(0)
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKL(
            sample_size=32,
            block_out_channels=(4,),
            latent_channels=1,
            norm_num_groups=1,
            use_quant_conv=False,
            use_post_quant_conv=False,
            shift_factor=0.0609,
            scaling_factor=1.5035,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                hidden_size=32,
                projection_dim=32,
                intermediate_size=37,
                num_attention_heads=4,
                num_hidden_layers=2,
                vocab_size=len(clip_words),
                bos_token_id=clip_words["<|startoftext|>"],
                eos_token_id=clip_words["<|endoftext|>"],
            )
        ),
        tokenizer=CLIPTokenizer(vocab=clip_words, merges=[], model_max_length=77),
        text_encoder_2=T5EncoderModel(T5Config(vocab_size=200, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)),
        tokenizer_2=T5Tokenizer(vocab=t5_words, model_max_length=512),
        transformer=FluxTransformer2DModel(
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=False,
        ),
    )
    folder = tmp_path_factory.mktemp("tiny")
    pipeline.save_pretrained(folder)
    return str(folder)


@needs_extra
def test_a_prompt_and_a_seed_name_one_picture(tiny):
    def generate(prompt, seed, **settings):
        return DiffusersGenerator(width=64, height=32, model=tiny, device="cpu", **settings).generate(prompt, seed)

    first = generate("a red fox", 1)
    with Image.open(io.BytesIO(first)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 32))
        assert np.asarray(image).std() > 1
    assert generate("a red fox", 1) == first
    others = [generate("a red fox", 2), generate("a blue whale at night", 1), generate("a red fox", 1, steps=2)]
    assert len({first, *others}) == 4


@needs_extra
def test_threads_take_turns_and_a_picture_does_not_depend_on_those_before(tiny):
    generator = DiffusersGenerator(width=32, height=32, model=tiny, device="cpu")
    alone = [generator.generate("a red fox", seed) for seed in range(4)]
    pictures = {}
    threads = [
        threading.Thread(target=lambda seed=seed: pictures.update({seed: generator.generate("a red fox", seed)}))
        for seed in reversed(range(4))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [pictures[seed] for seed in range(4)] == alone


@needs_extra
def test_a_prompt_that_would_be_cut_is_refused(tiny):
    generator = DiffusersGenerator(width=32, height=32, model=tiny, device="cpu")
    with pytest.raises(DataError, match="tokens; the model reads at most 256"):
        generator.generate("a very long prompt " * 600, 0)


@needs_extra
def test_out_of_memory_stays_what_it_is(tiny, monkeypatch):
    from diffusers import FluxPipeline

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(FluxPipeline, "from_pretrained", fail)
    with pytest.raises(MemoryError):
        DiffusersGenerator(width=32, height=32, model=tiny).generate("a red fox", 0)


@needs_extra
def test_a_folder_without_weights_and_a_missing_device_get_one_line(tmp_path, tiny):
    import torch

    with pytest.raises(WeightsError, match="the weights cannot be loaded") as caught:
        DiffusersGenerator(width=32, height=32, model=str(tmp_path)).generate("a red fox", 0)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    if not torch.cuda.is_available():
        with pytest.raises(DataError, match="device=cuda: there is none here"):
            DiffusersGenerator(width=32, height=32, model=tiny, device="cuda").generate("a red fox", 0)


class Hub(BaseHTTPRequestHandler):
    """A hub of models where one has a licence to be accepted first, and questions after any other get no answer."""

    def do_GET(self):
        if "gated" not in self.path:
            self.close_connection = True
            return
        self.send_response(401)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("X-Error-Message", "Access to model is restricted.")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@needs_extra
def test_weights_that_cannot_be_had_get_one_line(tmp_path):
    program = """
import huggingface_hub.constants
from datasets.flux.local import DiffusersGenerator, WeightsError
for model in ("some/gated", "some/silent", "some/offline"):
    huggingface_hub.constants.HF_HUB_OFFLINE = model == "some/offline"
    try:
        DiffusersGenerator(width=32, height=32, model=model).generate("a red fox", 0)
    except WeightsError as error:
        print(error)
"""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
        thread.start()
        endpoint = f"http://127.0.0.1:{hub.server_address[1]}"
        settings = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1"}
        command, root = [sys.executable, "-c", program], Path(__file__).parents[1]
        done = subprocess.run(command, cwd=root, env=os.environ | settings, capture_output=True, text=True)
        hub.shutdown()
        thread.join()
    assert done.returncode == 0, done.stderr
    gated, silent, offline = done.stdout.splitlines()
    assert gated == "some/gated: accept its licence at https://huggingface.co/some/gated, then run: hf auth login"
    assert silent.startswith("some/silent: the weights cannot be loaded (RemoteProtocolError: Server disconnected")
    assert offline.startswith("some/offline: the weights cannot be loaded (OfflineModeIsEnabled: Cannot reach")
