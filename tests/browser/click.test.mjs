// From a click to the target, as a reader's browser goes it: the real server, a list in a file, a resolver that says nothing,
// and a target on another origin that counts what it is asked.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { appendFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { CLICK, Linkgate } from './linkgate.mjs';

// A browser that a program drives says so, and would be taken for a machine.
const AGENT = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36';

let target;
let silent;
let browser;
const asked = [];
const closing = [];

before(async () => {
  target = createServer((request, response) => {
    if (request.url !== '/favicon.ico') asked.push({ method: request.method, url: request.url, referer: request.headers.referer });
    response.setHeader('content-type', 'text/html').end('<title>target</title>there');
  });
  silent = createSocket('udp4');
  await Promise.all([
    new Promise((done) => { target.listen(0, '127.0.0.1', done); }),
    new Promise((done) => { silent.bind(0, '127.0.0.1', done); }),
  ]);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    // Names of targets are found here; no other name is.
    args: ['--no-sandbox', '--disable-gpu', '--disable-component-update', '--host-resolver-rules=MAP *.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
  });
});
after(async () => {
  await browser?.close();
  for (const close of closing) close();
  target?.close();
  silent?.close();
});

/** A server with lists, and the policies `more` says. @returns {Promise<(url: string) => string>} the address to click for a target */
async function serve(more) {
  const linkgate = new Linkgate();
  closing.push(() => linkgate.close());
  writeFileSync(linkgate.path('bad.txt'), 'bad.example\n');
  writeFileSync(linkgate.path('odd.txt'), 'odd.example\n');
  appendFileSync(linkgate.path('linkgate.toml'), `
[[source]]
name = "bad"
type = "domains"
from = "${linkgate.path('bad.txt')}"
[[source]]
name = "odd"
type = "domains"
from = "${linkgate.path('odd.txt')}"
weight = "warn"
${more}`);
  const address = await linkgate.serve();
  const link = (url) => {
    const message = `From: ada@sender.example\r\nTo: user@on.example\r\nContent-Type: text/plain\r\n\r\n${url}\r\n`;
    const file = linkgate.path('mail.eml');
    writeFileSync(file, message);
    const { output } = linkgate.rewrite([file]).get(file);
    const [found] = new RegExp(`${CLICK.replaceAll('.', '\\.')}/[^\\s>"]+`).exec(output.toString());
    return found.replace(CLICK, address);
  };
  // A list is in force some moments after the start.
  const bad = link('http://bad.example/start');
  for (let tries = 0; (await fetch(bad, { headers: { 'user-agent': AGENT }, redirect: 'manual' })).status !== 403; tries += 1) {
    assert.ok(tries < 200, 'the lists are not in force');
    await new Promise((done) => { setTimeout(done, 50); });
  }
  return link;
}

const there = (host, path) => `http://${host}:${target.address().port}${path}`;

/** A tab with scripting or without, as a reader's. */
async function newTab(javaScriptEnabled) {
  const context = await browser.newContext({ javaScriptEnabled, userAgent: AGENT });
  asked.length = 0;
  return { tab: await context.newPage(), close: () => context.close() };
}

/** The target was opened, once, and was not told where from. */
async function arrived(tab, path) {
  await tab.waitForURL((url) => url.pathname === path && url.hostname.endsWith('.example'), { timeout: 15_000 });
  assert.equal(await tab.title(), 'target');
  assert.deepEqual(asked, [{ method: 'GET', url: path, referer: undefined }], 'once, and without a word about where from');
}

for (const script of [false, true]) {
  const how = script ? 'with script' : 'without script';

  test(`a warning is passed in two steps, ${how}`, async () => {
    const link = await serve('[default]\nwarn_score = 0\n');
    const { tab, close } = await newTab(script);
    const page = await tab.goto(link(there('odd.example', '/warned')));
    assert.equal(page.status(), 200);
    const button = tab.locator('details.risk button');
    assert.equal(await button.isVisible(), false, 'going on takes a second step');
    assert.deepEqual(asked, [], 'nobody has pressed a button yet');
    await tab.locator('details.risk summary').click();
    await button.click();
    await arrived(tab, '/warned');
    await close();
  });

  test(`a good target is confirmed, ${how}`, async () => {
    const link = await serve('[default]\nflow = "confirm"\nwarn_score = 0\n');
    const { tab, close } = await newTab(script);
    await tab.goto(link(there('good.example', '/confirmed')));
    assert.deepEqual(asked, []);
    await tab.locator('form button.first').click();
    await arrived(tab, '/confirmed');
    await close();
  });

  test(`a page that waits goes on by itself, ${how}`, async () => {
    const link = await serve(`[default]
warn_score = 0
[[source]]
name = "asked"
type = "dns"
from = "list.example"
[checks]
dns_servers = ["127.0.0.1:${silent.address().port}"]
silent_ms = 50
hard_ms = 1500
`);
    const { tab, close } = await newTab(script);
    const page = await tab.goto(link(there('slow.example', '/waited')));
    assert.equal(page.status(), 200);
    assert.equal(await tab.locator('meta[http-equiv=refresh]').count(), 1, 'the page that waits');
    await arrived(tab, '/waited');
    await close();
  });
}

test('a blocked target has no way on', async () => {
  const link = await serve('');
  const { tab, close } = await newTab(false);
  const page = await tab.goto(link(there('bad.example', '/blocked')));
  assert.equal(page.status(), 403);
  const ways = await tab.evaluate(() => ({
    links: [...document.links].map((a) => a.href),
    forms: [...document.forms].map((f) => f.elements.namedItem('use')?.value),
    refresh: document.querySelectorAll('meta[http-equiv=refresh]').length,
  }));
  assert.ok(ways.links.every((href) => !href.includes('bad.example')), ways.links.join(' '));
  assert.deepEqual([ways.forms, ways.refresh], [['review'], 0], 'nothing but asking for a review');
  await tab.locator('form button').click();
  await tab.waitForLoadState();
  assert.equal(await tab.locator('form').count(), 0);
  assert.deepEqual(asked, []);
  await close();
});
