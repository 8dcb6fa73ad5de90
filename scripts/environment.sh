# shellcheck shell=bash
# Sourced by the other scripts: an environment of the project's own, made when it is missing or out of date.
# It keeps to what bash 3.2 has, because that is the one on macOS.

# Print the path of a Python of at least 3.11 that can make virtual environments.
# PYTHON names the one to use; without it the first fitting one on PATH is taken. Candidates are tried by
# running them, because a name on PATH need not work (the shims of pyenv, for one).
find_python() {
    local candidate found=""
    if [[ -n ${PYTHON:-} ]]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.14 python3.13 python3.12 python3.11 python
    fi
    for candidate in "$@"; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        found=$candidate
        if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    if [[ -n $found ]]; then
        echo "$found cannot make virtual environments: apt-get install python3-venv" >&2
    else
        echo "No Python of at least 3.11 found (tried: $*). PYTHON=/path/to/python names one." >&2
    fi
    return 1
}

# make_environment DIRECTORY REQUIREMENT...: a virtual environment with these requirements, in the current
# directory. Nothing is done where the one that is there was made from the same Python, the same
# requirements and the same pyproject.toml.
make_environment() {
    local directory=$1 python stamp
    shift
    python=$(find_python) || return
    stamp=$("$python" -c '
import hashlib, pathlib, sys
digest = hashlib.sha256(repr((sys.version, sys.base_prefix, sys.argv[1:])).encode())
for name in "pyproject.toml", "storagekit/version.py":
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())
' "$PWD/$directory" "$@") || return
    if [[ -x $directory/bin/python && $(cat "$directory/made-from" 2>/dev/null) == "$stamp" ]]; then
        return
    fi
    echo "Making $directory with $("$python" -V): once, and again when pyproject.toml changes ..."
    "$python" -m venv --clear "$directory" || return
    "$directory/bin/python" -m pip install -qq --disable-pip-version-check "$@" || return
    echo "$stamp" >"$directory/made-from"
}
