"""The measurements of tests/bench/run; see there."""
import argparse
import email.message
import json
import os
import pathlib
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

# A loopback address of its own, so that the ports are free.
HOST = "127.66.%d.%d" % (os.getpid() >> 8 & 0xFF, os.getpid() & 0xFF)
LINKGATE, SINK, CLICK, ADMIN = 10025, 10026, 8080, 8081
TICKS = os.sysconf("SC_CLK_TCK")
CONFIG = """
[click]
public_url = "https://click.example.com"
listen = "{host}:{click}"
[admin]
listen = "{host}:{admin}"
[store]
url = "sqlite:{folder}/linkgate.db"
[keys]
file = "{folder}/keys.toml"
[[listener]]
protocol = "smtp"
listen = "{host}:{linkgate}"
next_hop = "smtp://{host}:{sink}"
direction = "inbound"
[domain."wrapped.example"]
rewrite = "all"
"""

# name, message (octets of generated text, or the newsletter), sessions, connections kept, recipient's domain
SCENARIOS = [
    ("2 KB, 1 session, off", 2_000, 1, True, "off.example"),
    ("2 KB, 10 sessions, off", 2_000, 10, True, "off.example"),
    ("20 KB, 1 session, off", 20_000, 1, True, "off.example"),
    ("20 KB, 10 sessions, off", 20_000, 10, True, "off.example"),
    ("20 KB, 10 sessions, new connections, off", 20_000, 10, False, "off.example"),
    ("5 MB, 4 sessions, off", 5_000_000, 4, True, "off.example"),
    ("newsletter, 1 session, wrapped", "newsletter", 1, True, "wrapped.example"),
    ("newsletter, 10 sessions, wrapped", "newsletter", 10, True, "wrapped.example"),
]
LATENCIES = [
    ("latency, 20 KB, new connections, off", 20_000, "off.example"),
    ("latency, newsletter, new connections, wrapped", "newsletter", "wrapped.example"),
]


def newsletter(links=100):
    """About 50 KB on the wire: HTML in quoted-printable with `links` links, and a text part with a few."""
    dice = random.Random(1)

    def words(count):
        return " ".join("".join(dice.choice("aeinorstlu") for _ in range(dice.randint(2, 9))) for _ in range(count))

    def target():
        return "https://shop%d.example.org/c/%x/page?utm_source=news&utm_campaign=c%d&id=%032x" % (
            dice.randrange(9), dice.getrandbits(40), dice.randrange(99), dice.getrandbits(128))

    rows = ['<tr><td style="padding:8px 16px;font-family:Arial,sans-serif;font-size:14px;color:#333333">%s Ü '
            '<a href="%s" style="color:#1155cc;text-decoration:none">%s</a></td></tr>'
            % (words(20), target().replace("&", "&amp;"), words(3)) for _ in range(links)]
    mail = email.message.EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "News <news@sender.example>", "<r@example.com>", "News of the week"
    mail["Date"], mail["Message-ID"] = "Tue, 03 Nov 2026 10:00:00 +0100", "<1.news@sender.example>"
    mail.set_content("".join("%s\n%s\n\n" % (words(25), target()) for _ in range(14)), cte="quoted-printable")
    mail.add_alternative('<html><body><table width="600">%s</table></body></html>' % "\n".join(rows),
                         subtype="html", cte="quoted-printable")
    mail.set_boundary("=_boundary_1")
    return mail.as_bytes()


class Process:
    """A child with its CPU time and memory."""

    def __init__(self, command, port, log):
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(500):
            try:
                socket.create_connection((HOST, port), 1).close()
                return
            except OSError:
                if self.child.poll() is not None:
                    sys.exit("%s ended with %s" % (command[0], self.child.returncode))
                time.sleep(0.02)
        sys.exit("%s does not listen" % command[0])

    def cpu(self):
        fields = pathlib.Path("/proc/%d/stat" % self.child.pid).read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mib(self):
        rollup = pathlib.Path("/proc/%d/smaps_rollup" % self.child.pid).read_text()
        return int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1]) / 1024

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()


def send(port, message, sessions, keep, domain, count):
    """Seconds that smtp-source needs for `count` messages."""
    command = ["/usr/sbin/smtp-source", "-s", str(sessions), "-m", str(count), "-M", "bench.example",
               "-f", "news@sender.example", "-t", "reader@" + domain]
    command += ["-l", str(message)] if isinstance(message, int) else ["-F", str(message)]
    command += ["-d"] if keep else []
    start = time.monotonic()
    subprocess.run(command + ["inet:%s:%d" % (HOST, port)], check=True, timeout=600, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def throughput(linkgate, scenario, message, pairs, seconds):
    name, _, sessions, keep, domain = scenario
    # A number of messages that keeps the slower way busy for about `seconds`.
    probe = max(sessions, 20 if message != 5_000_000 else 4)
    send(LINKGATE, message, sessions, keep, domain, probe)
    count = max(probe, int(probe * seconds / send(LINKGATE, message, sessions, keep, domain, probe)))
    direct, through, cpu = [], [], []
    for _ in range(pairs):
        direct.append(send(SINK, message, sessions, keep, domain, count))
        before = linkgate.cpu()
        through.append(send(LINKGATE, message, sessions, keep, domain, count))
        cpu.append((linkgate.cpu() - before) / count * 1000)
    ratios = [d / t for d, t in zip(direct, through)]
    return {"name": name, "ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios),
            "messages_s": count / statistics.median(through), "direct_messages_s": count / statistics.median(direct),
            "cpu_ms": statistics.median(cpu), "messages": count, "pairs": pairs}


def one_message(port, wire, domain):
    """Milliseconds from connecting to the reply behind the final dot."""
    start = time.monotonic()
    with socket.create_connection((HOST, port), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = connection.makefile("rb")

        def say(line, expect):
            connection.sendall(line)
            while True:
                reply = reader.readline()
                if reply[3:4] != b"-":
                    break
            if not reply.startswith(expect):
                sys.exit("%r was answered with %r" % (line[:60], reply))

        say(b"", b"220")
        say(b"EHLO bench.example\r\n", b"250")
        say(b"MAIL FROM:<news@sender.example>\r\n", b"250")
        say(b"RCPT TO:<reader@%s>\r\n" % domain.encode(), b"250")
        say(b"DATA\r\n", b"354")
        say(wire, b"250")
        took = time.monotonic() - start
        connection.sendall(b"QUIT\r\n")
    return took * 1000


def latency(scenario, message, rounds):
    name, _, domain = scenario
    if isinstance(message, int):
        body = b"Subject: bench\n\n" + b"".join(b"%078d\n" % i for i in range(message // 79))
    else:
        body = message.read_bytes()
    wire = re.sub(rb"(?m)^\.", b"..", body).replace(b"\n", b"\r\n") + b".\r\n"
    direct, through = [], []
    for turn in range(rounds + 20):
        first, second = one_message(SINK, wire, domain), one_message(LINKGATE, wire, domain)
        if turn >= 20:
            direct.append(first)
            through.append(second)
        time.sleep(0.002)

    def at(values, share):
        return sorted(values)[int(share * (len(values) - 1))]

    return {"name": name, "p50_ms": at(through, 0.5), "p99_ms": at(through, 0.99),
            "direct_p50_ms": at(direct, 0.5), "direct_p99_ms": at(direct, 0.99),
            "added_p50_ms": at(through, 0.5) - at(direct, 0.5), "messages": rounds}


def main():
    arguments = argparse.ArgumentParser(prog="tests/bench/run")
    arguments.add_argument("--linkgate", required=True)
    arguments.add_argument("--pairs", type=int, default=5, help="direct and through, in turn, so many times (5)")
    arguments.add_argument("--seconds", type=float, default=2, help="about so long for each half of a pair (2)")
    arguments.add_argument("--only", default="", help="only scenarios whose name has this in it")
    arguments.add_argument("--json", help="write all figures to this file too")
    options = arguments.parse_args()

    with tempfile.TemporaryDirectory(prefix="linkgate-bench-") as name:
        folder = pathlib.Path(name)
        mail = folder / "newsletter.eml"
        mail.write_bytes(newsletter())
        config = folder / "linkgate.toml"
        config.write_text(CONFIG.format(host=HOST, linkgate=LINKGATE, sink=SINK, click=CLICK, admin=ADMIN, folder=name))
        figures = {"host": {"cpus": os.cpu_count(), "load": os.getloadavg()[0]}, "throughput": [], "latency": []}
        with open(folder / "log", "wb") as log:
            drop = ["-u", "nobody"] if os.getuid() == 0 else []
            sink = Process(["/usr/sbin/smtp-sink", *drop, "inet:%s:%d" % (HOST, SINK), "1024"], SINK, log)
            linkgate = Process([options.linkgate, "serve", "--config", str(config)], LINKGATE, log)
            try:
                measure(options, mail, linkgate, figures)
            finally:
                linkgate.stop()
                sink.stop()
        if options.json:
            pathlib.Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


def measure(options, mail, linkgate, figures):
    def message_of(scenario):
        return mail if scenario[1] == "newsletter" else scenario[1]

    time.sleep(1)
    figures["idle_mib"] = linkgate.memory_mib()
    print("idle: %.1f MiB" % figures["idle_mib"])
    print("%-46s %6s %15s %9s %9s %9s" % ("smtp-source -> linkgate -> smtp-sink", "ratio", "(low .. high)", "msg/s",
                                          "direct", "CPU ms"))
    peak = Peak(linkgate)
    for scenario in SCENARIOS:
        if options.only in scenario[0]:
            row = throughput(linkgate, scenario, message_of(scenario), options.pairs, options.seconds)
            figures["throughput"].append(row)
            print("%(name)-46s %(ratio)6.2f  (%(lowest).2f .. %(highest).2f) %(messages_s)9.0f %(direct_messages_s)9.0f "
                  "%(cpu_ms)9.3f" % row, flush=True)
    print("%-46s %8s %8s %8s %8s %8s" % ("one message at a time, ms", "p50", "p99", "direct", "p99", "added"))
    for scenario in LATENCIES:
        if options.only in scenario[0]:
            row = latency(scenario, message_of(scenario), 300)
            figures["latency"].append(row)
            print("%(name)-46s %(p50_ms)8.2f %(p99_ms)8.2f %(direct_p50_ms)8.2f %(direct_p99_ms)8.2f "
                  "%(added_p50_ms)8.2f" % row, flush=True)
    figures["peak_mib"] = peak.stop()
    time.sleep(2)
    figures["after_mib"] = linkgate.memory_mib()
    print("memory: peak %(peak_mib).1f MiB, 2 s after the load %(after_mib).1f MiB" % figures)


class Peak(threading.Thread):
    """Looks at a process's memory ten times a second."""

    def __init__(self, process):
        super().__init__(daemon=True)
        self.process, self.peak, self.running = process, 0.0, True
        self.start()

    def run(self):
        while self.running:
            self.peak = max(self.peak, self.process.memory_mib())
            time.sleep(0.1)

    def stop(self):
        self.running = False
        self.join()
        return self.peak


main()
