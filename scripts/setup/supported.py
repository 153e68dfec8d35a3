"""Say whether this Python can run the book: `make` asks before it installs anything.

Prints one line with the remedy, and exits with 2, if it cannot. Runs under any Python 3, however old.
"""

import platform
import sys

OLDEST, NEWEST = (3, 11), (3, 13)  # for a later one the pinned numpy has no wheel
SAY = "Say which: make PYTHON=/path/to/python3.11"


def obstacle(version, system, machine, implementation, modules):
    """What is in the way, and the remedy, in one line; empty if nothing is.

    Args: first two numbers of the version; what `platform` says of system, machine and implementation; for each module
    that is needed to make an environment, whether it is there.
    """
    name = "Python {}.{}".format(*version)
    if version < OLDEST:
        return f"Python 3.11 or later is needed; {sys.executable} is {name}. {SAY}"
    if version > NEWEST:
        return f"Python 3.11, 3.12 or 3.13 is needed; {sys.executable} is {name}. {SAY}"
    if implementation != "CPython":
        return f"CPython is needed; {sys.executable} is {implementation}. {SAY}"
    if (system, machine) == ("Darwin", "x86_64"):
        return "torch has no release for Macs with an Intel processor any more; take another machine, or Binder"
    if system == "Windows":
        return "make book was made for Linux and macOS; on Windows, run it in WSL (wsl --install)"
    missing = [module for module in sorted(modules) if not modules[module]]
    if missing:
        hint = "On Debian and Ubuntu: apt-get install python{}.{}-venv".format(*version)
        return f"{sys.executable} cannot make environments, it has no {missing[0]}. {hint}"
    return ""


def there(module):
    """Whether a module can be imported."""
    try:
        __import__(module)
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    words = obstacle(
        tuple(sys.version_info[:2]),
        platform.system(),
        platform.machine(),
        platform.python_implementation(),
        {"venv": there("venv"), "ensurepip": there("ensurepip")},
    )
    if words:
        print(words)
        sys.exit(2)
