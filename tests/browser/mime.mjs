// The HTML parts of a message, read as a forgiving mail program reads them.

/** @returns {{octets: Buffer, charset: string}[]} every HTML part, transfer encoding undone */
export function htmlParts(message) {
  const out = [];
  walk(message.toString('latin1'), out, 0);
  return out;
}

function walk(text, out, depth) {
  if (depth > 70) return;
  const end = /\r?\n\r?\n/.exec(text);
  const head = end ? text.slice(0, end.index) : text;
  const body = end ? text.slice(end.index + end[0].length) : '';
  const type = field(head, 'content-type') || 'text/plain';
  const coding = (field(head, 'content-transfer-encoding') || '').replace(/\(.*?\)|"/g, '').trim().toLowerCase();
  const kind = type.replace(/\(.*?\)/g, '').split(';')[0].trim().toLowerCase();
  const boundary = parameter(type, 'boundary');
  if (kind.startsWith('multipart/') && boundary) {
    for (const part of split(body, boundary)) walk(part, out, depth + 1);
  } else if (kind === 'message/rfc822') {
    walk(decode(body, coding).toString('latin1'), out, depth + 1);
  } else if (/html|svg/.test(kind)) {
    out.push({ octets: decode(body, coding), charset: parameter(type, 'charset') || '', kind });
  }
}

/** The last field of that name, unfolded. */
function field(head, name) {
  const found = [...head.replace(/\r?\n[ \t]+/g, ' ').matchAll(/^([^\s:]+)[ \t]*:(.*)$/gm)].filter((m) => m[1].toLowerCase() === name);
  return found.length ? found[found.length - 1][2].trim() : null;
}

function parameter(value, name) {
  const m = new RegExp(`;\\s*${name}\\s*=\\s*(?:"([^"]*)"?|([^\\s;]*))`, 'i').exec(value);
  return m ? (m[1] ?? m[2]) : null;
}

function split(body, boundary) {
  const parts = [];
  let current = null;
  for (const line of body.split(/(?<=\n)/)) {
    const bare = line.replace(/[ \t\r\n]+$/, '');
    if (bare === `--${boundary}` || bare === `--${boundary}--`) {
      if (current !== null) parts.push(current.replace(/\r?\n$/, ''));
      current = bare.endsWith('--') && bare !== `--${boundary}` ? null : '';
    } else if (current !== null) current += line;
  }
  if (current !== null) parts.push(current);
  return parts;
}

function decode(body, coding) {
  if (coding === 'base64') return Buffer.from(body.replace(/[^A-Za-z0-9+/]/g, ''), 'base64');
  if (coding !== 'quoted-printable') return Buffer.from(body, 'latin1');
  const joined = body.replace(/=[ \t]*\r?\n/g, '').replace(/=$/, '');
  return Buffer.from(joined.replace(/=([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16))), 'latin1');
}
