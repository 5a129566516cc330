// A gateway in `dev` mode and a browser in front of it. Waiting is for a condition, never for a time.
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { chromium } from 'playwright-core';

export const PATIENCE = 20_000;
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const SHOTS = process.env.SCREENSHOTS;

/** Starts `dev` on free ports; what it prints says where it is. */
export async function startDev() {
  const relay = spawn(process.env.CLAIMR_RELAY_BIN, ['dev', '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  relay.stderr.on('data', (text) => (log += text));
  let printed = '';
  const ended = new Promise((resolve) => relay.once('exit', resolve));
  await new Promise((resolve, reject) => {
    relay.stdout.on('data', (text) => {
      printed += text;
      if (printed.includes('Metrics')) resolve();
    });
    ended.then((code) => reject(new Error(`dev ended with ${code}\n${log}`)));
  });
  const found = (pattern) => printed.match(pattern)[1];
  return {
    demo: found(/Open\s+(\S+)/),
    inspector: found(/Inspector\s+(\S+)/),
    /** The line that it asks to be pasted, as it stands. */
    curl: found(/^ +(curl http:[\s\S]*?'\{[\s\S]*?\}')$/m),
    /** `claimr-relay trigger`, as it is printed, for any scope. */
    trigger: (scope) => found(/^ +(CLAIMR_HOOK_SECRET=.* trigger .*)$/m).replace('claimr-relay trigger user_reward', `${process.env.CLAIMR_RELAY_BIN} trigger ${scope} --json`),
    async stop() {
      relay.kill('SIGTERM');
      return ended;
    },
  };
}

export const launch = () => chromium.launch({ executablePath: CHROMIUM, args: FLAGS });

/** A page that collects what goes wrong in it. A connection that is refused while the gateway restarts is no fault of the page. */
export async function open(browser, url, { prepare, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.faults = [];
  page.on('pageerror', (error) => page.faults.push(String(error)));
  page.on('console', (message) => {
    const text = message.text();
    if (message.type() === 'error' && !/WebSocket connection to|Failed to load resource|ERR_/.test(text)) page.faults.push(text);
  });
  await prepare?.(page);
  await page.goto(url);
  return page;
}

/** How far the page is wider than its window, in pixels. */
export const overhang = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** A picture, if somebody wants to look at it. */
export async function shoot(page, name) {
  if (!SHOTS) return;
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: `${SHOTS}/${name}.png` });
}
