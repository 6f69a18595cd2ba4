// A reader with Chromium and no network: shows a document as a webmail page would, and tells where one can get from it.
import { chromium } from 'playwright-core';

/** Where documents are shown. Links that stay on this host lead to the page itself. */
export const PAGE = 'https://webmail.test/message';

export class Reader {
  static async start() {
    const reader = new Reader();
    reader.browser = await chromium.launch({
      executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-gpu', '--disable-component-update', '--host-resolver-rules=MAP * ~NOTFOUND'],
    });
    reader.quiet = await reader.page(false);
    reader.scripting = await reader.page(true);
    return reader;
  }

  close() { return this.browser.close(); }

  async page(javaScriptEnabled) {
    const context = await this.browser.newContext({ javaScriptEnabled });
    const page = await context.newPage();
    await page.route('**/*', (route) => {
      const here = route.request().isNavigationRequest() && route.request().frame() === page.mainFrame();
      if (here && route.request().url() === PAGE && this.shown) {
        const { octets, type } = this.shown;
        this.shown = null;
        return route.fulfill({ status: 200, headers: { 'content-type': type }, body: octets });
      }
      // Not 'failed': that would put an error page in the place of a document that refreshes itself.
      return route.abort('aborted');
    });
    context.on('page', (popup) => { if (popup !== page) popup.close().catch(() => {}); });
    page.on('dialog', (dialog) => dialog.dismiss().catch(() => {}));
    return page;
  }

  /** The text on screen, with scripting off, as mail programs show it. */
  async text(part) {
    await this.show(this.quiet, part);
    return this.quiet.evaluate(() => document.body?.innerText ?? document.documentElement.textContent);
  }

  /**
   * Where one can get from a document, with scripting off and on; and where a browser goes when all of it is clicked.
   * @returns {Promise<{navigable: {url: string, how: string}[], clicked: string[]}>}
   */
  async explore(part) {
    const navigable = [];
    for (const page of [this.quiet, this.scripting]) {
      await this.show(page, part);
      navigable.push(...await page.evaluate(listNavigable));
    }
    return { navigable, clicked: await this.scripting.evaluate(clickEverything) };
  }

  async show(page, { octets, charset, kind }) {
    const type = /svg|xhtml/.test(kind) ? kind : 'text/html';
    this.shown = { octets, type: charset ? `${type}; charset=${charset}` : type };
    await page.goto(PAGE, { waitUntil: 'domcontentloaded' });
  }
}

/** Runs in the page: every place that some program lets a reader get to, in the markup on show and in what is hidden in it. */
function listNavigable() {
  const LOADED = new Set(['link', 'image', 'use', 'feimage', 'pattern', 'lineargradient', 'radialgradient', 'filter', 'mpath',
    'textpath', 'tref', 'cursor', 'script', 'base']);
  const FRAMES = new Set(['iframe', 'frame', 'embed', 'portal', 'fencedframe']);
  const UNREAD = new Set(['noscript', 'noembed', 'noframes', 'iframe']);
  const found = [];
  const add = (value, base, how) => {
    let url;
    try { url = new URL(value, base).href; } catch { return; }
    if (/^(https?|ftp):/.test(url)) found.push({ url, how });
  };
  const again = (html, base, where, depth) => {
    if (depth > 5 || !html.includes('<')) return;
    const inner = new DOMParser().parseFromString(html, 'text/html');
    visit(inner, inner.querySelector('base[href]') ? inner.baseURI : base, where, depth + 1);
  };
  const element = (el, base, where, depth) => {
    const tag = el.localName.toLowerCase();
    const how = (name) => `${where}${tag}[${name}]`;
    for (const attribute of el.attributes) {
      const name = attribute.name.toLowerCase();
      const value = attribute.value;
      if (name === 'href' || name.endsWith(':href') || attribute.localName === 'href') {
        // The browser's own answer where it has one: it knows the encoding of the document.
        const own = el.namespaceURI.endsWith('xhtml') && (tag === 'a' || tag === 'area') && where === '' && name === 'href';
        if (!LOADED.has(tag) || (tag === 'link' && el.hasAttribute('itemprop'))) add(own ? el.href : value, base, how(name));
      } else if (name === 'formaction' || name === 'action-xhr' || (name === 'action' && (tag === 'form' || tag === 'isindex'))) {
        add(value, base, how(name));
      } else if ((name === 'src' && FRAMES.has(tag)) || (name === 'data' && tag === 'object')) {
        add(value, base, how(name));
      } else if (name === 'ping') {
        value.split(/\s+/).filter(Boolean).forEach((v) => add(v, base, how(name)));
      } else if (name === 'srcdoc') {
        again(value, base, `${where}srcdoc `, depth);
      } else if (name === 'content' && tag === 'meta' && el.hasAttribute('itemprop') && /^\s*(https?|ftp):/i.test(value)) {
        add(value.trim(), base, how(name));
      } else if (name === 'attributename' && /href/i.test(value)) {
        for (const to of ['to', 'from', 'by', 'values']) (el.getAttribute(to) ?? '').split(';').filter(Boolean).forEach((v) => add(v, base, how(to)));
      }
    }
    if (tag === 'meta' && /^\s*refresh\s*$/i.test(el.getAttribute('http-equiv') ?? '')) {
      const to = /^[\s\d.]*[;,\s]\s*(?:url\s*=\s*)?["']?(.+?)["']?\s*$/is.exec(el.getAttribute('content') ?? '');
      if (to) add(to[1], base, how('refresh'));
    }
    if (tag === 'script' && /json/i.test(el.type)) {
      const strings = (v, key) => {
        if (typeof v === 'string') { if (!key.startsWith('@') && /^(https?|ftp):/i.test(v)) add(v, base, how(key)); }
        else if (v) Object.entries(v).forEach(([k, inner]) => strings(inner, k));
      };
      try { strings(JSON.parse(el.textContent), ''); } catch { found.push({ url: 'invalid:', how: how('JSON that no longer parses') }); }
    }
    if (UNREAD.has(tag) && !el.firstElementChild) again(el.textContent, base, `${where}${tag} `, depth);
    if (tag === 'template' && el.content) visit(el.content, base, `${where}template `, depth);
    if (el.shadowRoot) visit(el.shadowRoot, base, `${where}shadow `, depth);
  };
  const visit = (root, base, where, depth) => {
    const nodes = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_COMMENT | NodeFilter.SHOW_PROCESSING_INSTRUCTION);
    for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
      if (node.nodeType === Node.ELEMENT_NODE) element(node, base, where, depth);
      else again(node.data, base, `${where}comment `, depth);
    }
  };
  visit(document, document.baseURI, '', 0);
  return found;
}

/** Runs in the page: clicks on all there is, and tells where the browser would have gone. */
async function clickEverything() {
  const gone = [];
  navigation.addEventListener('navigate', (event) => {
    gone.push(event.destination.url);
    event.preventDefault();
  });
  document.querySelectorAll('[target], [formtarget]').forEach((el) => { el.removeAttribute('target'); el.removeAttribute('formtarget'); });
  // A form is sent a little later, and only if nothing else has begun by then.
  const sent = () => new Promise((done) => setTimeout(done, 5));
  for (const el of [...document.querySelectorAll('*')]) {
    if (!/^(a|area|button|input)$/i.test(el.localName)) continue;
    el.dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true }));
    if (/^(button|input)$/i.test(el.localName)) await sent();
  }
  for (const form of document.forms) {
    form.requestSubmit();
    await sent();
  }
  await new Promise((done) => setTimeout(done, 20));
  return gone;
}
