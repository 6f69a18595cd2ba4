"""Signs or verifies a message on standard input with a reader that linkgate does not use (dkimpy).

    signature.py sign PRIVATE_KEY_FILE > SIGNED
    signature.py verify PUBLIC_KEY_FILE          exit status 0: the signature holds

The public key comes from the file (the `p=` text of a key record): no name is looked up.
"""
import sys

import dkim

command, key = sys.argv[1], open(sys.argv[2], "rb").read()
message = sys.stdin.buffer.read()
if command == "sign":
    header = dkim.sign(message, b"test", b"sender.example", key, canonicalize=(b"simple", b"simple"),
                       include_headers=[b"from", b"to", b"subject", b"date", b"message-id", b"content-type"])
    sys.stdout.buffer.write(header + message)
else:
    record = b"v=DKIM1; k=rsa; p=" + key.strip()
    sys.exit(0 if dkim.verify(message, dnsfunc=lambda name, timeout=5: record) else 1)
