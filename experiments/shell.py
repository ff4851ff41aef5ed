"""A verb at the shell: whatever stops it becomes one line on stderr and an exit status."""

import argparse
import contextlib
import errno
import gc
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE)
INTERRUPTED = 130
PIPE_CLOSED = 141
TERMINATED = 143


class Unusable(ValueError):
    """Words of the user, or what they name, with which nothing can be done; its text is one line."""

    exit_status = 2


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


def parser(description: str | None, examples: str) -> argparse.ArgumentParser:
    """Of a script: what it does, its arguments, and examples as they are written."""
    return argparse.ArgumentParser(
        description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_service(to: argparse.ArgumentParser, *, port: int) -> None:
    """Where a service listens, and by which run it answers: host, port, run, runs."""
    add = to.add_argument
    add("--host", default="127.0.0.1", help="address to listen at (default: this machine alone, %(default)s)")
    add("--port", type=int, default=port, help="(default: %(default)s)")
    add("--run", type=Path, metavar="FOLDER", help="of a finished run or ensemble (default: the last below --runs)")
    add("--runs", type=Path, default=Path("runs"), help="where runs lie (default: %(default)s)")


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; Unusable where that cannot be."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise Unusable(
            f"--host {host} --port {port}: {error}; expected an address of this machine and a free port"
        ) from error


def names_of(host: str) -> list[str]:
    """By which names a service there may be asked for: where it listens to this machine alone; else none, for any.

    A page from elsewhere can have its own name mean this machine, but not change it.
    """
    with contextlib.suppress(ValueError):
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            return []
        return sorted({"localhost", "127.0.0.1", "::1", host})
    return []


def main(verb: str, act: Callable[[], int | None]) -> None:
    """Run `act` and exit with its status (None is 0), or with the status of what it raised.

    What is not the user's to mend keeps its traceback and exits with 1.
    """

    def terminate(*_: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        status = act() or 0
    except BrokenPipeError:  # a reader such as `head` has seen enough; Python would complain again on its way out
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = PIPE_CLOSED
    except (Exception, KeyboardInterrupt, Terminated) as error:
        explained = explain(error)
        if explained is None:
            raise
        status, text = explained
        print(f"{verb}: {text}", file=sys.stderr)
    if "triton" not in sys.modules:  # which would list all that it leaves behind
        gc.freeze()  # else Python goes through all of torch on its way out, half a second for nothing
    sys.exit(status)


def check_folder(option: str, path: Path) -> None:
    """Unusable where no folder can be there, as it or one above it is a file."""
    if file := next((above for above in (path, *path.parents) if above.is_file()), None):
        raise Unusable(f"{option} {path}: {file} is a file; expected a folder")


def explain(error: BaseException) -> tuple[int, str] | None:
    """Exit status and one line for an error with a known meaning; None for the others."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted; the same command goes on from here"
    if isinstance(error, Terminated):
        return TERMINATED, "terminated; the same command goes on from here"
    if (status := getattr(error, "exit_status", None)) is not None:
        return status, " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename else ""
        storage = error.errno in STORAGE
        mend = "; free some space and start again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return 4 if storage else 2, f"{where}{error.strerror}{mend}"
    # torch raises its own kind on CUDA and a plain RuntimeError on the CPU
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "DefaultCPUAllocator" in str(error):
        return 6, f"out of memory; smaller images, or fewer at once, need less ({type(error).__name__})"
    return None


def one_line(error: BaseException) -> str:
    """What `explain` says of an error, or its kind and text."""
    explained = explain(error)
    return explained[1] if explained else " ".join(f"{type(error).__name__}: {error}".split())
