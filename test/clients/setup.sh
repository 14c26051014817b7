#!/usr/bin/env bash
# Installs the clients that the whole-program tests drive, each into a virtual environment of its own:
#   az-new   the newest azure-cli      az-2.45  azure-cli 2.45.0      sdk  the Azure SDK for Python
# They go to clients/ in LIDO_TEST_CACHE (default /var/cache/lido-test), about 1 GB. What is there already and fits the
# requirement file is left alone. Needs Python 3.11 with venv (PYTHON names another interpreter).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${LIDO_TEST_CACHE:-/var/cache/lido-test}/clients
uv_version=0.13.9

find_python() {
    local p
    for p in "${PYTHON:-}" /usr/bin/python3 python3.11 python3; do
        if [ -n "$p" ] && "$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            echo "$p"
            return
        fi
    done
    echo "setup-test: no Python 3.11 with venv (on Debian 12: apt-get install python3 python3-venv); name one in PYTHON" >&2
    return 1
}

# uv installs a thousand packages in seconds where pip needs minutes.
install_uv() {
    local dir=$cache/uv-$uv_version
    if [ ! -x "$dir/bin/uv" ]; then
        rm -rf "$dir"
        "$python" -m venv "$dir"
        "$dir/bin/pip" install --quiet --disable-pip-version-check "uv==$uv_version"
    fi
    uv=$dir/bin/uv
}

install_client() {
    local name=$1 dir=$cache/$1 want stamp=$cache/$1/.lido-requirements
    want="$(sha256sum < "$here/$name.txt") $("$python" --version)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
        echo "setup-test: $name is there ($dir)"
        return
    fi
    echo "setup-test: installing $name into $dir"
    rm -rf "$dir"
    "$uv" venv --quiet --python "$python" "$dir"
    "$uv" pip install --quiet --no-deps --python "$dir/bin/python" -r "$here/$name.txt"
    if [ -x "$dir/bin/az" ]; then # also compiles what every az run needs
        AZURE_CONFIG_DIR=$dir/.warm AZURE_CORE_COLLECT_TELEMETRY=no "$dir/bin/az" cloud list --output none
        # az 2.45 needs three seconds to make its index of commands in a new configuration directory; tests copy it.
        if [ -s "$dir/.warm/commandIndex.json" ]; then mv "$dir/.warm/commandIndex.json" "$dir/lido-command-index.json"; fi
        rm -rf "$dir/.warm"
    fi
    echo "$want" > "$stamp"
}

mkdir -p "$cache" || { echo "setup-test: cannot make $cache: run as root, or name another directory in LIDO_TEST_CACHE" >&2; exit 1; }
exec 9> "$cache/.lock"
flock 9
export UV_CACHE_DIR=$cache/.uv-cache UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never
python=$(find_python)
install_uv
for client in az-new az-2.45 sdk; do
    install_client "$client"
done
