#!/usr/bin/env bash
# Runs a command beside a PostgreSQL server of its own, whose URL is in HERDBOOK_TEST_POSTGRES.
#
#     tests/postgres.sh python -m pytest tests/test_postgres.py
#
# The server lies in a temporary folder, listens on a socket there and nowhere else, and is gone
# afterwards. Where there is no PostgreSQL, root on a Debian system gets it from the packages; anybody
# else runs the command without a server.
set -euo pipefail

programs() {
    local newest
    newest=$(ls /usr/lib/postgresql/*/bin/pg_ctl 2>/dev/null | sort -V | tail -n 1 || true)
    dirname "${newest:-$(command -v pg_ctl)}"
}

if [ "$(programs)" = . ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # Without this file the package would make a server for the whole machine, and start it.
    settings=/etc/postgresql-common/createcluster.d/none.conf
    mkdir -p "$(dirname "$settings")"
    echo "create_main_cluster = false" >"$settings"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends postgresql >/dev/null
    rm -f "$settings"
fi
bin=$(programs)
if [ "$bin" = . ]; then
    echo "postgres.sh: no PostgreSQL, and only root on a Debian system can install it here" >&2
    exec "$@"
fi

folder=$(mktemp -d)
as_user=()
if [ "$(id -u)" = 0 ]; then # the server refuses to run as root
    chown postgres "$folder"
    as_user=(runuser -u postgres --)
fi
stop() {
    "${as_user[@]}" "$bin/pg_ctl" -D "$folder/data" -m immediate -s stop || true
    rm -rf "$folder"
}
trap stop EXIT
cd "$folder" # a folder that the server's user may be in
password=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
echo "$password" >"$folder/password"
"${as_user[@]}" "$bin/initdb" -D "$folder/data" -U herdbook --pwfile="$folder/password" \
    -A scram-sha-256 -E UTF8 --locale=C --no-sync >/dev/null
"${as_user[@]}" "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -s -w \
    -o "-k $folder -c listen_addresses='' -c fsync=off" start || { cat "$folder/log" >&2; exit 1; }
cd "$OLDPWD"
HERDBOOK_TEST_POSTGRES="postgres://herdbook:$password@/postgres?host=$folder" "$@"
