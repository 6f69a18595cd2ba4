// The program under test, with a configuration of its own in a folder that goes with it.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

export const ROOT = new URL('../..', import.meta.url).pathname;
export const CLICK = 'https://click.example';
const PROGRAM = process.env.LINKGATE || join(ROOT, 'target/debug/linkgate');

export class Linkgate {
  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'linkgate-browser-'));
    writeFileSync(this.path('linkgate.toml'), `
[click]
public_url = "${CLICK}"
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[store]
url = "sqlite:${this.folder}/linkgate.db"
[keys]
file = "${this.folder}/keys.toml"
[[listener]]
protocol = "smtp"
listen = "127.0.0.1:0"
next_hop = "smtp://127.0.0.1:9"
direction = "inbound"
[domain."on.example"]
rewrite = "all"
bypass_urls = ["intranet.example", "*.intranet.example"]
`);
  }

  path(...names) { return join(this.folder, ...names); }

  run(args, input) {
    const [command, ...rest] = args;
    return execFileSync(PROGRAM, [command, '--config', this.path('linkgate.toml'), ...rest],
      { input, maxBuffer: 1 << 28, stdio: ['pipe', 'pipe', 'pipe'] });
  }

  /** Rewrites messages. @returns {Map<string, {output: Buffer|null, report: object}>} by file */
  rewrite(files) {
    const out = this.path('out');
    rmSync(out, { recursive: true, force: true });
    mkdirSync(out);
    this.run(['rewrite', '--from', 'ada@sender.example', '--to', 'user@on.example', '--report', this.path('report'), '--out-dir', out, ...files]);
    const results = new Map();
    for (const line of readFileSync(this.path('report'), 'utf8').split('\n').filter(Boolean)) {
      const report = JSON.parse(line);
      let output = null;
      try { output = readFileSync(join(out, basename(report.file))); } catch { /* refused: there is none */ }
      results.set(report.file, { output, report });
    }
    return results;
  }

  /** Where click links lead. @returns {Map<string, string|null>} null for what does not open */
  reveal(urls) {
    if (urls.length === 0) return new Map();
    let text;
    try { text = this.run(['reveal', '--json'], urls.join('\n') + '\n').toString(); } catch (e) { text = e.stdout.toString(); }
    return new Map(text.split('\n').filter(Boolean).map((l) => JSON.parse(l)).map((r) => [r.click_url, r.url ?? null]));
  }

  /** Starts the server. @returns {Promise<string>} the address of the click pages */
  async serve() {
    this.server = spawn(PROGRAM, ['serve', '--config', this.path('linkgate.toml')], { stdio: ['ignore', 'pipe', 'pipe'] });
    return new Promise((resolve, reject) => {
      let log = '';
      const read = (chunk) => {
        log += chunk;
        const line = log.replace(/\x1b\[[0-9;]*m/g, '').split('\n').find((l) => /click/i.test(l) && /127\.0\.0\.1:\d+/.test(l));
        if (line) resolve('http://' + /127\.0\.0\.1:[1-9]\d*/.exec(line)[0]);
      };
      this.server.stdout.on('data', read);
      this.server.stderr.on('data', read);
      this.server.on('exit', (code) => reject(new Error(`serve ended with ${code}: ${log}`)));
    });
  }

  close() {
    if (this.server) {
      this.server.removeAllListeners('exit');
      this.server.kill();
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
