// The page behind a click link that leads nowhere, on a wide screen and on a telephone.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { Linkgate, ROOT } from './linkgate.mjs';

const SHOTS = join(ROOT, 'target/browser');
let linkgate;
let address;
let browser;

before(async () => {
  linkgate = new Linkgate();
  address = await linkgate.serve();
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
  mkdirSync(SHOTS, { recursive: true });
});
after(async () => {
  await browser?.close();
  linkgate?.close();
});

for (const width of [1280, 390]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`not found, ${width} px, ${colorScheme}`, async () => {
      const page = await browser.newPage({ viewport: { width, height: 800 }, colorScheme });
      const faults = [];
      page.on('pageerror', (e) => faults.push(String(e)));
      page.on('requestfailed', (r) => faults.push(r.url()));
      const asked = [];
      page.on('request', (r) => asked.push(r.url()));
      const answer = await page.goto(`${address}/c/shop.example/AAAAAAAAAAAA`);
      assert.equal(answer.status(), 404);
      const box = await page.evaluate(() => ({
        wide: document.documentElement.scrollWidth, text: document.body.innerText, title: document.title, lang: document.documentElement.lang,
        smallest: Math.min(...[...document.querySelectorAll('p, h1')].map((el) => parseFloat(getComputedStyle(el).fontSize))),
      }));
      assert.ok(box.wide <= width, `the page is ${box.wide} px wide`);
      assert.ok(box.text.trim().length > 20 && box.title && box.lang, 'a title, a language and words');
      assert.ok(box.smallest >= 12, `text of ${box.smallest} px`);
      assert.ok(!box.text.includes('shop.example'), 'a stranger learns nothing about the link');
      assert.deepEqual(asked.filter((u) => !u.startsWith(address)), [], 'nothing is fetched from elsewhere');
      assert.deepEqual(faults.filter((f) => !f.includes('favicon')), []);
      await page.screenshot({ path: join(SHOTS, `not-found-${width}-${colorScheme}.png`) });
      await page.close();
    });
  }
}
