#!/usr/bin/env bash
# Runs a command on a machine that has Chromium, the browser of the tests that open a page.
#
#     tests/chromium.sh python -m pytest -m browser
#
# Where there is none, root on a Debian system gets it from the packages; anybody else runs the
# command without it, and those tests are skipped.
set -euo pipefail

if ! command -v chromium >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends chromium >/dev/null
    else
        echo "chromium.sh: no Chromium, and only root on a Debian system can install it here" >&2
    fi
fi
exec "$@"
