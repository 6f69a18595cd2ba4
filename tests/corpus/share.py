#!/usr/bin/env python3
"""Takes every Nth message of a corpus, from the Kth on, for a check that has no time for all of them.

    share.py CORPUS N K FOLDER

What counts as a message is what the checker takes for one: files .eml, .txt, .msg and .mail, and all that is in archives .tar.gz
and .tgz, read-me files aside. Messages of one sort lie beside each other, so a share has its part of each sort. FOLDER is made;
each message in it has its number in the corpus before its name. Prints 'N of M messages'.
"""
import os, re, sys, tarfile

MESSAGES, ARCHIVES = (".eml", ".txt", ".msg", ".mail"), (".tar.gz", ".tgz")


def messages(corpus):
    """Name and reader of each message, in an order that is the same everywhere."""
    for folder, subfolders, files in os.walk(corpus):
        subfolders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name.endswith(ARCHIVES):
                with tarfile.open(path) as archive:
                    for member in archive:
                        if member.isfile() and not is_read_me(member.name):
                            yield member.name, lambda: archive.extractfile(member).read()
            elif name.endswith(MESSAGES) and not is_read_me(name):
                yield name, lambda: open(path, "rb").read()


def is_read_me(name):
    return os.path.basename(name).upper().startswith("README")


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__.split("\n\n")[1].strip())
    corpus, of, share, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    os.makedirs(folder)
    total = taken = 0
    for name, read in messages(corpus):
        if total % of == share:
            name = re.sub(r"[^A-Za-z0-9._-]", "_", re.sub(r"\.eml$", "", os.path.basename(name)))
            with open("%s/%06d-%s.eml" % (folder, total, name[-60:]), "wb") as out:
                out.write(read())
            taken += 1
        total += 1
    print("%d of %d messages" % (taken, total))


main()
