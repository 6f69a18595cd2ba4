// What a reader can get to from rewritten HTML: click links, and what the report says was left.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { CLICK, Linkgate, ROOT } from './linkgate.mjs';
import { htmlParts } from './mime.mjs';
import { PAGE, Reader } from './reader.mjs';

const LINK = new RegExp(`${CLICK.replaceAll('.', '\\.')}/c/[A-Za-z0-9._~/-]+`, 'g');

// Texts that do not stay the same, and why.
const OTHER_TEXT = {
  'utf-7.eml': 'Chromium reads no UTF-7; the text becomes UTF-8, which it reads',
  'utf-16-unlabelled.eml': 'Chromium takes UTF-16 without a mark or label for something else; the text becomes UTF-8, which it reads',
  'nul.eml': 'the NUL goes, and with it what Chromium takes for text',
  'frames.eml': 'an object that loads nothing shows what stands in it',
};

let linkgate;
let reader;

before(async () => {
  linkgate = new Linkgate();
  reader = await Reader.start();
});
after(async () => {
  await reader?.close();
  linkgate?.close();
});

/** Fails when something of a document leads elsewhere than to a click link or to what was left. */
async function mustBeSafe(name, part, report) {
  const { navigable, clicked } = await reader.explore(part);
  const left = new Set([PAGE]);
  for (const link of report.links.filter((l) => l.decision === 'kept')) {
    try { left.add(new URL(link.url, PAGE).href); } catch { /* no URL, so nothing that is navigable */ }
  }
  const told = new Set(report.links.filter((l) => l.decision === 'wrapped').map((l) => l.url));
  const all = [...navigable, ...clicked.map((url) => ({ url, how: 'click' }))].filter(({ url }) => /^(https?|ftp|invalid):/.test(url));
  const opened = linkgate.reveal([...new Set(all.map((a) => a.url).filter((u) => u.startsWith(`${CLICK}/c/`)))]);
  for (const { url, how } of all) {
    if (new URL(url).host === new URL(PAGE).host || left.has(url)) continue;
    assert.ok(opened.has(url), `${name}: ${how} leads to ${url}`);
    assert.ok(opened.get(url), `${name}: ${how} is a click link that does not open: ${url}`);
    assert.ok(told.has(opened.get(url)), `${name}: the report does not name ${opened.get(url)}`);
  }
  return opened.size;
}

/** The text on screen with click links, where they show, as what they stand for. */
async function textWithTargets(part) {
  const text = await reader.text(part);
  const links = [...new Set(text.match(LINK) ?? [])];
  const targets = linkgate.reveal(links);
  return text.replace(LINK, (link) => targets.get(link) ?? link);
}

function message(html) {
  const lines = html.toString('base64').replace(/.{76}/g, '$&\r\n');
  return `From: ada@sender.example\r\nTo: user@on.example\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n` +
    `Content-Transfer-Encoding: base64\r\n\r\n${lines}\r\n`;
}

test('the reader finds what was not made safe', async () => {
  const tricks = {
    'link.test': '<a href="https://link.test/" target="_blank">x</a>', 'area.test': '<img usemap="#m"><map name="m"><area href="//area.test"></map>',
    'svg.test': '<svg><a xlink:href="https://svg.test/"><text>x</text></a></svg>', 'math.test': '<math href="https://math.test/"></math>',
    'form.test': '<form action="https://form.test/"><button>x</button></form>', 'button.test': '<form><button formaction="https://button.test/">x</button></form>',
    'frame.test': '<iframe src="https://frame.test/"></iframe>', 'srcdoc.test': '<iframe srcdoc="<a href=https://srcdoc.test/>x</a>"></iframe>',
    'object.test': '<object data="https://object.test/"></object>', 'ping.test': '<a href="#x" ping="https://ping.test/">x</a>',
    'refresh.test': '<meta http-equiv="refresh" content="9; url=https://refresh.test/">', 'comment.test': '<!--[if mso]><v:rect href="https://comment.test/"></v:rect><![endif]-->',
    'noscript.test': '<noscript><a href="https://noscript.test/">x</a></noscript>', 'template.test': '<template><a href="https://template.test/">x</a></template>',
    'json.test': '<script type="application/ld+json">{"url":"https:\\/\\/json.test/"}</script>', 'prefixed.test': '<a:b href="https://prefixed.test/">x</a:b>',
    'smil.test': '<svg><a><set attributeName="href" to="https://smil.test/"/></a></svg>', 'base.test': '<a href="x">x</a><base href="https://base.test/">',
    'shadow.test': '<div><template shadowrootmode="open"><a href="https://shadow.test/">x</a></template></div>',
  };
  for (const [host, html] of Object.entries(tricks)) {
    const { navigable, clicked } = await reader.explore({ octets: Buffer.from(`<p>${html}`), charset: 'utf-8', kind: 'text/html' });
    assert.ok(navigable.some(({ url }) => new URL(url).host === host), `${host} is not found in ${html}`);
    if (/^(link|area|svg|form|button|base)/.test(host)) assert.ok(clicked.some((url) => new URL(url).host === host), `a click misses ${host}`);
  }
});

test('pages of fixtures/html', async (t) => {
  const folder = join(ROOT, 'fixtures/html');
  const names = readdirSync(folder).filter((n) => n.endsWith('.html')).sort();
  assert.ok(names.length > 0);
  for (const name of names) {
    await t.test(name, async () => {
      const html = readFileSync(join(folder, name));
      const file = linkgate.path('page.eml');
      writeFileSync(file, message(html));
      const { output, report } = linkgate.rewrite([file]).get(file);
      const [part] = htmlParts(output);
      const links = await mustBeSafe(name, part, report);
      const was = await reader.text({ octets: html, charset: 'utf-8', kind: 'text/html' });
      assert.equal(await textWithTargets(part), was, `${name}: what a reader sees`);
      assert.equal(links > 0, report.links.some((l) => l.decision === 'wrapped'), `${name}: ${links} click links`);
      if (name === 'nothing.html') assert.equal(output.toString(), message(html));
    });
  }
});

for (const kind of readdirSync(join(ROOT, 'fixtures/mail'), { withFileTypes: true }).filter((e) => e.isDirectory()).map((e) => e.name).sort()) {
  test(`HTML parts of fixtures/mail/${kind}`, async (t) => {
    const folder = join(ROOT, 'fixtures/mail', kind);
    const files = readdirSync(folder).filter((n) => n.endsWith('.eml') && !n.endsWith('.want.eml')).sort().map((n) => join(folder, n));
    let parts = 0;
    for (const [file, { output, report }] of linkgate.rewrite(files)) {
      const name = basename(file);
      if (!output) continue;
      const now = htmlParts(output);
      const was = htmlParts(readFileSync(file));
      for (const [i, part] of now.entries()) {
        parts += 1;
        await t.test(`${name}, part ${i + 1}`, async () => {
          await mustBeSafe(name, part, report);
          // Where the structure itself can be read in several ways, there is no one text to compare with.
          if (kind === 'malformed' || was.length !== now.length || OTHER_TEXT[name]) return;
          assert.equal(await textWithTargets(part), await reader.text(was[i]), `${name}: what a reader sees`);
        });
      }
    }
    t.diagnostic(`${parts} parts`);
  });
}
