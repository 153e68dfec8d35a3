"""Where the book's repository lives, and the set-up cell that installs from there.

`_config.yml` may have the address. If it has none, a checkout that came from GitHub knows it, and the built pages get
it from there; nothing that git tracks is written. If nobody knows it, the pages say nothing of it.
"""

import re
import subprocess
from pathlib import Path

import yaml

GITHUB = r"(?:https?://(?:[^/@]*@)?|ssh://git@|git://|git@)github\.com[/:]([\w.-]+)/([\w.-]+?)(?:\.git)?/?"
"""The forms of a remote on GitHub. A password or token that stands in one is left out."""

SETUP_CELL = """\
# Nothing happens here on your own machine or in Binder. In Colab, this installs what the chapter needs.
import importlib.util

if importlib.util.find_spec("uqlib") is None:
    INSTALL
from uqlib.chapters.colab import finish_setup

finish_setup()"""

FROM_ADDRESS = "%pip install -q --no-deps git+"

FROM_COLAB = r"""import re
    import socket
    from urllib.parse import unquote
    from urllib.request import urlopen

    try:  # Colab knows from which repository it opened this notebook
        server = f"http://{socket.gethostbyname(socket.gethostname())}:9000/api/sessions"
        sessions = unquote(urlopen(server, timeout=10).read().decode())
        address = re.findall(r"https://github\.com/[\w.-]+/[\w.-]+", sessions)[0]
    except (OSError, IndexError):
        raise ModuleNotFoundError(
            "uqlib is not installed. Run `make` in the folder of the book, and take the Python of its .venv; "
            "in Colab, run `%pip install --no-deps git+` followed by the address of the book's repository."
        ) from None
    %pip install -q --no-deps git+{address}"""
"""For notebooks in git, which know no address: Colab opens them from the repository that is to be installed."""


def configured(config: Path) -> str:
    """The address that `_config.yml` has, or an empty string."""
    settings = yaml.safe_load(config.read_text(encoding="utf-8")) if config.exists() else {}
    return ((settings or {}).get("repository") or {}).get("url") or ""


def of_checkout(root: Path) -> str:
    """The remote `origin` of the checkout in a folder, as an address for a browser; empty if it is not on GitHub."""
    if not (root / ".git").exists():  # a mere folder, perhaps within somebody else's checkout
        return ""
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        remote = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # there is no git
        return ""
    found = re.fullmatch(GITHUB, remote)
    return f"https://github.com/{found[1]}/{found[2]}" if found else ""


def checked(url: str) -> str:
    """An address as it is to be written.

    Raises:
        ValueError: if it is not `https://<host>/<owner>/<name>`.
    """
    url = url.strip().removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", url):
        raise ValueError(f"URL is {url!r}; expected the form https://github.com/owner/name")
    return url


def config_with(text: str, url: str) -> str:
    """The text of `_config.yml` with this address; an empty one stands for none.

    Raises:
        ValueError: if it has no line for it.
    """
    lines, inside, found = text.split("\n"), False, 0
    for number, line in enumerate(lines):
        if line[:1].strip():
            inside = line.startswith("repository:")
        entry = re.match(r"""(\s+url\s*:)\s*(?:"[^"]*"|'[^']*'|[^\s#]*)(.*)""", line)
        if inside and entry:
            written = url or '""'
            lines[number] = f"{entry[1]} {written}{entry[2]}"
            found += 1
    if found != 1:
        raise ValueError("_config.yml has no line 'url:' under 'repository:'; add one and try again")
    return "\n".join(lines)


def page_with(text: str, url: str) -> str:
    """A page's text without what it says between `<!-- with an address -->` and `<!-- end -->`, if there is none."""
    return re.sub(r"<!-- with an address -->\n(.*?)<!-- end -->\n", r"\1" if url else "", text, flags=re.DOTALL)


def setup_cell(url: str) -> str:
    """Source of the set-up cell of every chapter: with the address, or with the way to find it in Colab."""
    return SETUP_CELL.replace("INSTALL", f"{FROM_ADDRESS}{url}" if url else FROM_COLAB)
