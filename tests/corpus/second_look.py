#!/usr/bin/env python3
"""Looks again at messages in which a checker did not find the targets of links in order, this time as browsers read URLs.

    second_look.py --linkgate BIN KEPT LOG

KEPT is the folder that the checker kept (in/, out/, linkgate.toml), LOG what it printed with -v. The checker compares the
letters of URLs; here both sides go through node's URL parser, which is a browser's: `http://3221226219/` and
`http://192.0.2.235/` are one place then. Prints the messages whose links all lead where a browser would have gone, and
last, 'N of M messages hold on a second look'.
Needs python3 with html5lib, and node.
"""
import argparse, email, email.policy, html5lib, json, re, subprocess

NORMALISE = """
const lines = require('fs').readFileSync(0, 'utf8').split('\\n').filter(Boolean)
for (const line of lines) {
  let href = null
  try { href = new URL(JSON.parse(line)).href } catch {}
  console.log(JSON.stringify(href))
}
"""


def hrefs(path, prefix):
    """The web links of the HTML parts of a message, in order."""
    with open(path, "rb") as f:
        message = email.message_from_binary_file(f, policy=email.policy.compat32)
    found = []
    for part in message.walk():
        if part.get_content_type() != "text/html":
            continue
        body = part.get_payload(decode=True) or b""
        try:
            text = body.decode(part.get_content_charset() or "utf-8", "replace")
        except LookupError:
            text = body.decode("latin-1")
        for element in html5lib.parse(text, namespaceHTMLElements=False).iter():
            href = element.get("href") if element.tag in ("a", "area") else None
            if href and re.match(r"[\x00-\x20]*(https?|ftp):", href, re.I):
                found.append(href)
    return [h for h in found if h.startswith(prefix)] if prefix else found


def opened(linkgate, config, links):
    """What click links open to."""
    done = subprocess.run([linkgate, "reveal", "--config", config, "--json"], input="\n".join(links) + "\n",
                          capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {a["click_url"]: a.get("url") for a in answers}


def normalised(urls):
    """URLs as a browser writes them; None for what it does not take for one."""
    done = subprocess.run(["node", "-e", NORMALISE], input="".join(json.dumps(u) + "\n" for u in urls),
                          capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--linkgate", required=True)
    ap.add_argument("kept")
    ap.add_argument("log")
    a = ap.parse_args()
    config = a.kept + "/linkgate.toml"
    public_url = re.search(r'public_url = "([^"]+)"', open(config).read()).group(1) + "/c/"
    failing, holding = 0, 0
    for line in open(a.log, encoding="utf-8", errors="replace"):
        name, _, reasons = line.rstrip("\n").partition(".eml | ")
        if not reasons:
            failing += re.match(r"\S+\.eml no output", line) is not None
            continue
        failing += 1
        if any(not r.startswith("targets:") for r in reasons.split("; ")):
            continue
        before = normalised(hrefs("%s/in/%s.eml" % (a.kept, name), ""))
        ours = hrefs("%s/out/%s.eml" % (a.kept, name), public_url)
        target = opened(a.linkgate, config, ours)
        after = iter(normalised([target.get(u) or "" for u in ours]))
        # Text may have been made a link in between, so it is enough that all stand there in order.
        if all(u is None or u in after for u in before):
            holding += 1
            print(name, "leads where a browser would have gone")
    print("%d of %d messages hold on a second look" % (holding, failing))


main()
