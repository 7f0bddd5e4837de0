"""A shop: counts its visits in Redis, keeps its orders in PostgreSQL, shows pages from a folder."""
import http.server
import os
import signal
import socket
import sys

import psycopg2
import redis

CONFIG = open("/etc/shop.conf").read().strip()


def database():
    password = open("/run/secrets/password").read().strip()
    return psycopg2.connect(host="db", dbname="shop", user="shop", password=password)


def migrate():
    with database() as d, d.cursor() as c:
        c.execute("create table if not exists orders (id serial primary key, what text)")
        c.execute("select count(*) from orders")
        print("orders:", c.fetchone()[0])


class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/order":
            with database() as d, d.cursor() as c:
                c.execute("insert into orders (what) values ('tea') returning id")
                text = f"order {c.fetchone()[0]}"
        elif self.path == "/page":
            text = open("/app/pages/index.txt").read()
        else:
            visits = redis.Redis(host=os.environ["CACHE"]).incr("visits")
            text = f"{os.environ['GREETING']} {CONFIG} {visits} {socket.gethostname()}"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, form, *args):
        print(form % args)


if sys.argv[1:] == ["migrate"]:
    migrate()
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("open")
    http.server.ThreadingHTTPServer(("", 8000), Shop).serve_forever()
