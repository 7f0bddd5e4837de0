#!/bin/sh
# Makes the database at the first start, then becomes the server.
set -eu
if [ ! -e "$PGDATA/PG_VERSION" ]; then
	initdb -U shop --pwfile=/run/secrets/password -A scram-sha-256 --no-sync >/dev/null
	echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
	echo "create database $POSTGRES_DB" | postgres --single -D "$PGDATA" postgres >/dev/null
fi
exec postgres -h '*' -k /tmp -c fsync=off
