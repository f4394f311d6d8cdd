#!/usr/bin/env bash
# A PostgreSQL of one's own for studies, on this machine alone: makes it where there is none, starts it where it does not
# run, and prints how to use it. On a cluster: on the head, where the driver runs, which alone writes into it.
#
#   bash cluster/postgres.sh ~/postgres          # another port: bash cluster/postgres.sh ~/postgres 5433
#
# It listens on 127.0.0.1 alone and asks for a password, which is drawn here and stands in ~/.pgpass (or the file that
# PGPASSFILE names), where every client looks for it; it is in no URI, no command line and no record. Needs Debian's
# package `postgresql` (its programs; its own server may be off). A second run changes nothing.
set -euo pipefail
folder=${1:?give the folder that the database is to lie in, on a disk of this machine}
port=${2:-5432}
user=$(id -un)

[ "$(id -u)" -ne 0 ] || {
    echo "error: PostgreSQL does not run as root; run this as the user who runs the studies" >&2
    exit 1
}
command -v initdb >/dev/null || {
    newest=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    PATH=$newest:$PATH
}
command -v initdb >/dev/null || {
    echo "error: there is no initdb; install PostgreSQL's server (sudo apt-get install postgresql)" >&2
    exit 1
}

# What is made here is this user's alone.
umask 077
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
if [ ! -s "$folder/data/PG_VERSION" ]; then
    password=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    # `printf` is the shell's own: nothing of this stands in the list of processes.
    initdb --pgdata="$folder/data" --username="$user" --auth=scram-sha-256 --pwfile=<(printf '%s\n' "$password") \
        --encoding=UTF8 --no-locale --no-instructions >"$folder/initdb.log" 2>&1 || {
        cat "$folder/initdb.log" >&2
        exit 1
    }
    passfile=${PGPASSFILE:-$HOME/.pgpass}
    [ ! -e "$passfile" ] || cp "$passfile" "$folder/pgpass.before"
    # Before what is there: the first line that fits counts.
    { printf '127.0.0.1:%s:*:%s:%s\n' "$port" "$user" "$password" && cat "$folder/pgpass.before" 2>/dev/null || true; } \
        >"$folder/pgpass.new"
    mv "$folder/pgpass.new" "$passfile"
    rm -f "$folder/pgpass.before"
fi
if ! pg_ctl --pgdata="$folder/data" status >/dev/null; then
    pg_ctl --pgdata="$folder/data" --log="$folder/log" --wait \
        --options="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=''" start >/dev/null || {
        tail -n 5 "$folder/log" >&2
        exit 1
    }
fi
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=$user
[ "$(psql --no-password -d postgres -Atc "SELECT 1 FROM pg_database WHERE datname = 'studies'")" = 1 ] ||
    createdb --no-password studies

cat <<END
PostgreSQL listens on 127.0.0.1:$port; a study is shown there by
  --tracking-uri postgresql://$user@127.0.0.1:$port/studies      (or, in its file, tracking_uri:)
from another machine, with the password's line of ~/.pgpass copied there:
  ssh -N -L $port:127.0.0.1:$port $user@$(uname -n)
it ends by
  $(command -v pg_ctl) -D $folder/data stop
END
