"""The web page on which a finished run looks at pictures, served by Streamlit on this machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets.named import LARGEST_UPLOAD
from experiments.shell import Unusable, listening, names_of

MOST_HELD = 2**30  # bytes of all readers' files together; what comes beyond is refused


def serve(*, host: str, port: int, runs: Path, run: Path | None) -> None:
    """Serve the page until the process is asked to end; Unusable without Streamlit, or where the port is taken."""
    try:
        from streamlit import net_util
        from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
        from streamlit.web import bootstrap
    except ImportError as error:
        raise Unusable(f"the page needs Streamlit: pip install -e '.[app]' ({error})") from error
    listening(host, port).close()  # Streamlit would take another one
    net_util.get_external_ip = lambda: None  # it would ask a server elsewhere
    MemoryUploadedFileManager.add_file = bounded(MemoryUploadedFileManager.add_file)  # type: ignore[method-assign]
    options = {
        "server.address": host,
        "server.port": port,
        "server.allowedHosts": names_of(host),
        "server.headless": True,  # opens no browser and asks for no address
        "server.fileWatcherType": "none",
        "server.maxUploadSize": LARGEST_UPLOAD // 2**20,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",  # a traceback names files of this machine; it stands on the terminal
    }
    bootstrap.load_config_options(options)
    bootstrap.run(str(Path(__file__).with_name("page.py")), False, [str(runs), *([str(run)] if run else [])], options)


def bounded(add_file: Callable[..., None]) -> Callable[..., None]:
    """Streamlit's keeper of uploads, which would take any number of them, up to MOST_HELD bytes."""
    from starlette.exceptions import HTTPException

    def add(keeper: Any, session_id: str, file: Any) -> None:
        held = sum(stat.byte_length for stats in keeper.get_stats().values() for stat in stats)
        if held + len(file.data) > MOST_HELD:
            raise HTTPException(413, f"{MOST_HELD // 2**20} MB are held already; take some away, or close other pages")
        add_file(keeper, session_id, file)

    return add
