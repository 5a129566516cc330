/** Chromium and Firefox as Debian ships them, and the pages that they open. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { type Browser, type BrowserContext, chromium, firefox, type Page } from 'playwright-core';
import { closeAll, servePages } from './control.js';

export type BrowserName = 'Chromium' | 'Firefox';

const LAUNCH: Record<BrowserName, () => Promise<Browser>> = {
  Chromium: () =>
    chromium.launch({
      executablePath: find('CHROMIUM', '/usr/bin/chromium'),
      // Playwright switches the back-forward cache off; we are here to test it.
      ignoreDefaultArgs: ['--disable-back-forward-cache'],
      args: [
        ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
        ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
      ],
    }),
  // Debian's Firefox has none of Playwright's patches; it is driven by WebDriver BiDi.
  Firefox: () => firefox.launch({ executablePath: find('FIREFOX', '/usr/bin/firefox-esr'), channel: 'moz-firefox' }),
};

export const BROWSERS = (process.env.BROWSERS ?? 'Chromium,Firefox').split(',').filter(Boolean) as BrowserName[];

function find(variable: string, path: string): string {
  const found = process.env[variable] ?? path;
  if (!existsSync(found)) throw new Error(`no browser at ${found}: apt-get install chromium firefox-esr, or set ${variable}`);
  return found;
}

const browsers = new Map<BrowserName, Promise<Browser>>();
/** What is served, by path. Tests add to it. */
export const files: Record<string, string> = {};

let pages: Awaited<ReturnType<typeof servePages>>;

/** Bundles the pages and serves them. */
export async function start(): Promise<void> {
  const { outputFiles } = await build({
    entryPoints: ['page', 'react-page'].map((name) => join(ROOT, `test/contract/${name}.ts`)),
    outdir: '/',
    bundle: true,
    format: 'iife',
    target: 'es2022',
    sourcemap: 'inline',
    define: { 'process.env.NODE_ENV': '"development"' },
    write: false,
  });
  Object.assign(files, { '/blank.html': '<!doctype html><title>blank</title>' });
  for (const { path, text } of outputFiles) {
    files[path] = text;
    files[path.replace(/js$/, 'html')] = `<!doctype html><title>contract</title><div id="root"></div><script src="${path}"></script>`;
  }
  pages = await servePages(files);
}

export async function stop(): Promise<void> {
  await Promise.all([...browsers.values()].map(async (browser) => (await browser).close()));
  pages?.server.closeAllConnections();
  pages?.server.close();
  await closeAll();
}

/** A new profile. Emulations are switched off where the browser does not know them. */
export async function openContext(name: BrowserName): Promise<BrowserContext> {
  if (!browsers.has(name)) browsers.set(name, LAUNCH[name]());
  const browser = await browsers.get(name)!;
  return browser.newContext({ colorScheme: null, reducedMotion: null, forcedColors: null, contrast: null, viewport: null });
}

/** The address of a page of ours. */
export const address = (path: string) => pages.origin + path;

/** A page of its own profile. Closing it closes the profile. */
export async function openPage(name: BrowserName, path = '/page.html'): Promise<Page> {
  const context = await openContext(name);
  const page = await context.newPage();
  page.on('close', () => void context.close().catch(() => {}));
  await page.goto(address(path));
  return page;
}
