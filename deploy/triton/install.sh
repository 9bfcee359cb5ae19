#!/usr/bin/env bash
# Installs a real tritonserver, with its python backend, from wheels: install.sh FOLDER. `make triton` runs it.
# An environment of its own, because the backend wants numpy 1. Where there are no wheels, the tests that need it skip.
set -euo pipefail
here=$(dirname "$0")
folder=$1
"${PYTHON:-python3}" -m venv "$folder"
version=$("$folder/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $(uname -sm)/$version in
  "Linux x86_64/3.11" | "Linux x86_64/3.12") ;;
  *) echo "no wheels of tritonserver's parts for Python $version on $(uname -sm): its tests will skip"; exit 0 ;;
esac
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$here/constraints.txt"
server=$folder/lib/python$version/site-packages/pytriton/tritonserver
cp "$server/python_backend_stubs/$version/triton_python_backend_stub" "$server/backends/python/"
