#!/usr/bin/env python3
"""Measures clicks: wrk -> linkgate beside wrk -> nginx `return 302`, in turn in one run.

    tests/bench/clicks [--pairs N] [--seconds S] [--connections 1,64,256] [--urls N] [--dead-sources] [--json FILE]

linkgate runs as in earnest: a list of a million URLs, a row on disk before each redirect, no limit on the rate of one
reader (wrk is one). --dead-sources adds a DNS list and a feed that never answer.
"""
import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

UNIT = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
MAIL = b"From: a@shop.example\r\nTo: anna@bench.example\r\nSubject: s\r\nMIME-Version: 1.0\r\n" \
       b"Content-Type: text/plain\r\n\r\nhttps://www.shop.example/spring/offers?id=4711\r\n"


def free_ports(count):
    """All held before the first is let go: the system gives a port that was just let go a second time."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def wait_for(port, process, what, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        if process.poll() is not None:
            sys.exit(f"{what} ended at once with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{what} does not listen on port {port}")


def start_nginx(folder, port):
    conf = f"""worker_processes 2; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ return 302 https://www.shop.example/spring/offers?id=4711; }} }} }}
"""
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w") as f:
        f.write(conf)
    return subprocess.Popen(["nginx", "-c", path, "-p", folder], stdin=subprocess.DEVNULL)


def configure(folder, click, admin, listener, urls, dead):
    with open(os.path.join(folder, "urls.txt"), "w") as f:
        for i in range(urls):
            f.write(f"https://h{i % (urls // 4 or 1)}.bad{i % 997}.example/{i:x}/index.html\n")
    sources = f'[[source]]\nname = "bench"\ntype = "urls"\nfrom = "{folder}/urls.txt"\n'
    if dead:
        sources += '[[source]]\nname = "dead-dns"\ntype = "dns"\nfrom = "dead.example"\n'
        sources += '[[source]]\nname = "dead-feed"\ntype = "urls"\nfrom = "http://192.0.2.1:9/feed"\n'
    checks = '[checks]\nuse = "private"\n' + (f'dns_servers = ["127.0.0.1:{dead}"]\n' if dead else "")
    text = f"""[click]
public_url = "http://127.0.0.1:{click}"
listen = "127.0.0.1:{click}"
per_link_per_minute = 0
per_network_per_minute = 0
[admin]
listen = "127.0.0.1:{admin}"
[store]
url = "sqlite:{folder}/linkgate.db"
[keys]
file = "{folder}/keys.toml"
[log]
level = "warn"
{checks}
{sources}
[[listener]]
protocol = "smtp"
listen = "127.0.0.1:{listener}"
next_hop = "smtp://127.0.0.1:9"
[domain."bench.example"]
"""
    path = os.path.join(folder, "linkgate.toml")
    with open(path, "w") as f:
        f.write(text)
    return path


def click_link(linkgate, config):
    out = subprocess.run([linkgate, "rewrite", "--config", config, "--from", "a@shop.example", "--to", "anna@bench.example"],
                         input=MAIL, capture_output=True, check=True).stdout.replace(b"=\r\n", b"").replace(b"=3D", b"=")
    return re.search(rb"http://127\.0\.0\.1:\d+/c/\S+", out)[0].decode()


def location(url):
    """Status, Location of one click: what is measured must be what is meant."""
    host, path = re.match(r"http://([^/]+)(/.*)", url).groups()
    with socket.create_connection(host.split(":"), 5) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: s.recv(65536), b"")).decode("latin-1")
    place = re.search(r"(?im)^location: (\S+)", answer)
    return answer.split(" ", 2)[1], place and place[1]


def wrk(url, connections, seconds):
    out = subprocess.run(["wrk", "--latency", "-t1", f"-c{connections}", f"-d{seconds}s", url], capture_output=True,
                         text=True, check=True).stdout
    late = {int(p): float(v) * UNIT[u] for p, v, u in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)\s*$", out, re.M)}
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return {"rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), "n": int(re.search(r"(\d+) requests in", out)[1]),
            "p50": late[50], "p99": late[99], "wrong": int(wrong[1]) if wrong else 0}


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rows(folder):
    count = "import sqlite3,sys;print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM click').fetchone()[0])"
    return int(subprocess.run([sys.executable, "-c", count, f"{folder}/linkgate.db"], capture_output=True, text=True, check=True).stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--linkgate", required=True)
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--seconds", type=int, default=3)
    p.add_argument("--connections", default="1,64,256")
    p.add_argument("--urls", type=int, default=1_000_000)
    p.add_argument("--dead-sources", action="store_true")
    p.add_argument("--json")
    p.add_argument("--folder", help="for its files (default: a new one in the folder for temporary files)")
    a = p.parse_args()
    folder = tempfile.mkdtemp(prefix="linkgate-clicks-", dir=a.folder)
    os.chmod(folder, 0o711)
    running = []
    results = []
    try:
        click, admin, listener, yard, silent = free_ports(5)
        config = configure(folder, click, admin, listener, a.urls, silent if a.dead_sources else None)
        url = click_link(a.linkgate, config)
        server = subprocess.Popen([a.linkgate, "serve", "--config", config], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=open(os.path.join(folder, "log"), "w"))
        running.append(server)
        wait_for(click, server, "linkgate")
        nginx = start_nginx(folder, yard)
        running.append(nginx)
        wait_for(yard, nginx, "nginx")
        started = time.time()
        time.sleep(3)  # the list is read beside the serving
        got = location(url)
        while a.dead_sources and got[0] == "200" and time.time() - started < 30:
            time.sleep(1)  # the first clicks find out that nobody answers
            got = location(url)
        if got != ("302", "https://www.shop.example/spring/offers?id=4711"):
            sys.exit(f"a click gives {got}, not the redirect that is to be measured; see {folder}/log")
        print(f"{'connections':>11} {'ratio':>6} {'clicks/s':>9} {'nginx/s':>9} {'p50 ms':>7} {'p99 ms':>7} {'CPU us':>7}")
        clicks = 1
        for connections in (int(c) for c in a.connections.split(",")):
            ours, theirs, cpu = [], [], []
            for i in range(a.pairs + 1):
                seconds = a.seconds if i else 1
                base = wrk(f"http://127.0.0.1:{yard}/", connections, seconds)
                before = cpu_seconds(server.pid)
                mine = wrk(url, connections, seconds)
                clicks += mine["n"]
                if mine["wrong"]:
                    sys.exit(f"{mine['wrong']} answers were no redirects")
                if i:
                    ours.append(mine), theirs.append(base), cpu.append((cpu_seconds(server.pid) - before) / mine["n"])
            middle = statistics.median
            result = {"connections": connections, "ratio": round(middle(o["rps"] / t["rps"] for o, t in zip(ours, theirs)), 3),
                      "clicks_per_s": round(middle(o["rps"] for o in ours)), "nginx_per_s": round(middle(t["rps"] for t in theirs)),
                      "p50_ms": round(middle(o["p50"] for o in ours), 2), "p99_ms": round(middle(o["p99"] for o in ours), 2),
                      "cpu_us": round(1e6 * middle(cpu), 1)}
            results.append(result)
            print("{connections:>11} {ratio:>6} {clicks_per_s:>9} {nginx_per_s:>9} {p50_ms:>7} {p99_ms:>7} {cpu_us:>7}".format(**result), flush=True)
        server.terminate()
        server.wait(60)
        stored = rows(folder)
        print(f"rows: {stored} for {clicks} answers that were read to their end")
        if stored < clicks:
            sys.exit("rows are missing")
        if a.json:
            with open(a.json, "w") as f:
                json.dump(results, f, indent=1)
    finally:
        for process in running:
            if process.poll() is None:
                process.terminate()
                process.wait(30)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
