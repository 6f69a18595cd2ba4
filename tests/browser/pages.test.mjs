// Every page that a reader may see, in every language: without script, on a wide screen and on a telephone, by day and by
// night. A folder of pages is made by `examples/pages.rs`; a small server answers with their own status and headers.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { ROOT } from './linkgate.mjs';

const WRITER = process.env.LINKGATE_PAGES || join(ROOT, 'target/debug/examples/pages');
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const SHOTS = join(ROOT, 'target/browser');
const SHOOT = new Set(['en', 'de', 'ja', 'ar']);
// Every language on two screens, and English on the other two.
const SCREENS = [
  { width: 1280, colorScheme: 'light' }, { width: 390, colorScheme: 'dark' },
  { width: 1280, colorScheme: 'dark', only: 'en' }, { width: 390, colorScheme: 'light', only: 'en' },
];

let folder;
let pages;
let server;
let address;
let elsewhere;
let browser;
const landed = [];
const posted = [];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'linkgate-pages-'));
  execFileSync(WRITER, [folder], { cwd: ROOT });
  pages = JSON.parse(readFileSync(join(folder, 'pages.json'), 'utf8'));
  mkdirSync(SHOTS, { recursive: true });
  server = createServer(answer);
  elsewhere = createServer((request, response) => {
    landed.push({ url: request.url, method: request.method, referer: request.headers.referer });
    response.setHeader('content-type', 'text/html').end('<title>target</title>there');
  });
  await Promise.all([server, elsewhere].map((s) => new Promise((done) => { s.listen(0, '127.0.0.1', done); })));
  address = `http://127.0.0.1:${server.address().port}`;
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
});
after(async () => {
  await browser?.close();
  server?.close();
  elsewhere?.close();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

/** A page of the folder as the click address answers it; what a form sends is answered with the page that leads on. */
function answer(request, response) {
  const path = request.url.slice(1).split('?')[0];
  const page = pages.find((p) => p.file === path);
  const put = ({ file, status, headers }, change = (html) => html) => {
    response.writeHead(status, { ...headers, 'referrer-policy': 'no-referrer', 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' });
    response.end(change(readFileSync(join(folder, file), 'utf8')));
  };
  if (request.method === 'POST') {
    let body = '';
    request.on('data', (chunk) => { body += chunk; }).on('end', () => {
      posted.push(body);
      const target = `http://localhost:${elsewhere.address().port}/there`;
      put(pages.find((p) => p.file === 'onward.en.html'), (html) => html.replaceAll('https://www.shop.example/offers/autumn', target));
    });
  } else if (page) put(page, (html) => (request.url.endsWith('?still') ? html.replace(/<meta http-equiv="refresh"[^>]*>/, '') : html));
  else if (pages.some((p) => p.logo === request.url)) {
    response.writeHead(200, { 'content-type': 'image/svg+xml' }).end(readFileSync(join(folder, 'logo.svg')));
  } else response.writeHead(404).end();
}

/** A tab of its own, and what went wrong in it. */
async function newTab({ width, colorScheme, ...more }) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme, ...more });
  const tab = await context.newPage();
  const faults = [];
  tab.on('console', (m) => { if (m.type() === 'error' && !/favicon|status of [45]/.test(m.text())) faults.push(m.text()); });
  tab.on('request', (r) => { if (!r.url().startsWith(address)) faults.push(`asked for ${r.url()}`); });
  return { tab, faults, close: () => context.close() };
}

/** Opens a page as it stands: one that goes on by itself does not. */
async function look(tab, page) {
  const got = await tab.goto(`${address}/${page.file}?still`);
  assert.equal(got.status(), page.status, page.file);
}

for (const { only, ...screen } of SCREENS) {
  const shown = () => pages.filter((p) => !only || p.lang === only);

  test(`without script, ${screen.width} px, ${screen.colorScheme}`, async () => {
    const { tab, faults, close } = await newTab({ ...screen, javaScriptEnabled: false });
    for (const page of shown()) {
      await look(tab, page);
      assert.equal(await tab.locator('h1').count(), 1, page.file);
      assert.deepEqual(await tab.evaluate(() => [document.documentElement.lang, document.documentElement.dir]), [page.lang, page.dir]);
      const wide = await tab.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= screen.width, `${page.file} is ${wide} px wide`);
      if (page.name.startsWith('warning')) {
        const last = tab.locator('details.risk');
        assert.equal(await last.count(), page.continues ? 1 : 0, page.file);
        if (page.continues) {
          assert.equal(await last.locator('button').isVisible(), false, 'going on takes a second step');
          await last.locator('summary').click();
          assert.equal(await last.locator('button').isVisible(), true);
          await last.locator('summary').click();
        }
      }
      if (SHOOT.has(page.lang)) await tab.screenshot({ path: join(SHOTS, `${page.name}-${page.lang}-${screen.width}-${screen.colorScheme}.png`), fullPage: true });
    }
    assert.deepEqual(faults, []);
    await close();
  });

  test(`axe, ${screen.width} px, ${screen.colorScheme}`, async () => {
    const { tab, close } = await newTab({ ...screen, bypassCSP: true });
    const found = new Set();
    for (const page of shown()) {
      await look(tab, page);
      await tab.evaluate(AXE);
      const violations = await tab.evaluate(async () => {
        for (const d of document.querySelectorAll('details')) d.open = true;
        const rules = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
        const { violations: all } = await globalThis.axe.run(document, { runOnly: rules, resultTypes: ['violations'] });
        return all.map((v) => `${v.impact} ${v.id}: ${v.nodes.map((n) => n.html.slice(0, 120)).join(' | ')}`);
      });
      for (const v of violations) found.add(`${page.file}: ${v}`);
    }
    assert.deepEqual([...found], []);
    await close();
  });
}

test('320 px: nothing is cut off, and what can be pressed is large enough', async () => {
  const { tab, close } = await newTab({ width: 320, colorScheme: 'light' });
  for (const page of pages) {
    await look(tab, page);
    const { wide, small, lines } = await tab.evaluate(() => {
      for (const d of document.querySelectorAll('details')) d.open = true;
      return {
        wide: document.documentElement.scrollWidth,
        small: [...document.querySelectorAll('button, summary, a')]
          .map((e) => [e.textContent.trim(), e.getBoundingClientRect().height]).filter(([, h]) => h < 24),
        lines: [...document.querySelectorAll('.address')].map((e) => e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight)),
      };
    });
    assert.ok(wide <= 320, `${page.file} is ${wide} px wide`);
    assert.deepEqual(small, [], page.file);
    for (const n of lines) assert.ok(n < 8, `${page.file}: the target takes ${n} lines`);
  }
  await close();
});

test('the keyboard reaches everything, and shows where it is', async () => {
  const { tab, close } = await newTab({ width: 1280, colorScheme: 'light' });
  await look(tab, pages.find((p) => p.file === 'warning-brand.en.html'));
  const seen = [];
  for (let i = 0; i < 12; i += 1) {
    await tab.keyboard.press('Tab');
    const at = await tab.evaluate(() => {
      const e = document.activeElement;
      return e === document.body ? null : { text: e.textContent.trim().slice(0, 40), outline: getComputedStyle(e).outlineStyle };
    });
    if (at) { seen.push(at.text); assert.equal(at.outline, 'solid', at.text); }
  }
  for (const text of ['Back to safety', 'Open it anyway', 'Ask for a review', 'helpdesk@example.com']) assert.ok(seen.includes(text), `${text} not among ${seen}`);
  await close();
});

for (const [file, steps] of [['confirm.en.html', ['button.first']], ['warning.en.html', ['details.risk summary', 'details.risk button']]]) {
  test(`going on leads to another origin: ${file}`, async () => {
    const { tab, close } = await newTab({ width: 1280, colorScheme: 'light', javaScriptEnabled: false });
    await tab.goto(`${address}/${file}`);
    landed.length = 0;
    posted.length = 0;
    for (const step of steps) await tab.locator(step).click();
    await tab.waitForURL(/\/there$/, { timeout: 10_000 });
    assert.equal(await tab.title(), 'target');
    assert.deepEqual(posted, ['go=c2VhbA']);
    assert.deepEqual(landed.filter((l) => l.url === '/there'), [{ url: '/there', method: 'GET', referer: undefined }], 'once, and without a word about where from');
    await close();
  });
}
