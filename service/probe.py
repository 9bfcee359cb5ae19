"""`yolov7-service health`: asks a running service whether it would answer a detection.

For the HEALTHCHECK of a container, so it imports nothing that takes long. `/readyz` is true only after each model that
is served has found the known boxes in its known image, and is asked again on a timer: a process that lives and sees
nothing is not healthy.
"""

import os
import ssl
import sys
import urllib.error
import urllib.request
from argparse import ArgumentParser, Namespace

TIMEOUT_S = 4.0
MOST = 10_000  # bytes of an answer that are read


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the flags of `health`."""
    parser.add_argument("--url", default=own_url(), help="base URL of the service (default: %(default)s)")


def own_url() -> str:
    """Where the service of this environment listens, seen from its own host."""
    scheme = "https" if os.environ.get("YOLOV7_TLS_CERTIFICATE") else "http"
    return f"{scheme}://127.0.0.1:{os.environ.get('YOLOV7_PORT') or 8000}"


def run(arguments: Namespace) -> None:
    """Prints what the service says of itself; exits with 1 unless it is ready."""
    ready, told = ask(arguments.url)
    print(told, file=sys.stdout if ready else sys.stderr)  # the command's answer
    sys.exit(0 if ready else 1)


def ask(url: str) -> tuple[bool, str]:
    """Whether the service at a base URL is ready, and its own words, or why there are none."""
    context = ssl.create_default_context()
    if url.startswith("https://127.0.0.1:"):  # the certificate names the host that clients call
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(f"{url.rstrip('/')}/readyz", timeout=TIMEOUT_S) as answer:
            return True, answer.read(MOST).decode("utf-8", "replace").strip()
    except urllib.error.HTTPError as exc:
        return False, f"{exc.code}: {exc.read(MOST).decode('utf-8', 'replace').strip()}"
    except (OSError, ValueError) as exc:
        return False, f"{url}: {exc}"
