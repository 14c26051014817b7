#!/bin/sh
# Renews python.lock and package-lock.json: run it here, then build the image, run its tests and commit the three.
# Needs uv or pip-tools, and npm. Packages come from where the host's settings for pip and npm say.
set -eu
cd "$(dirname "$0")"
python=3.11 # of the suite that base is built from
if command -v uv >/dev/null; then
	uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-header \
		--python-version "$python" --python-platform x86_64-manylinux_2_28 -o python.lock python.in
else
	"python$python" -m piptools compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras \
		--no-emit-index-url --no-emit-find-links --no-header -o python.lock python.in
fi
rm -f package-lock.json
npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved
