"""The web page on which a finished run looks at pictures, served by Streamlit on this machine."""

from pathlib import Path

from datasets.named import LARGEST_UPLOAD
from experiments.shell import Unusable, listening


def serve(*, host: str, port: int, runs: Path, run: Path | None) -> None:
    """Serve the page until the process is asked to end; Unusable without Streamlit, or where the port is taken."""
    try:
        from streamlit.web import bootstrap
    except ImportError as error:
        raise Unusable(f"the page needs Streamlit: pip install -e '.[app]' ({error})") from error
    listening(host, port).close()  # Streamlit would take another one
    options = {
        "server.address": host,
        "server.port": port,
        "server.headless": True,  # opens no browser and asks for no address
        "server.fileWatcherType": "none",
        "server.maxUploadSize": LARGEST_UPLOAD // 2**20,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",  # a traceback names files of this machine; it stands on the terminal
    }
    bootstrap.load_config_options(options)
    bootstrap.run(str(Path(__file__).with_name("page.py")), False, [str(runs), *([str(run)] if run else [])], options)
