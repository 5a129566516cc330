/** The examples of README.md, run as they stand against the real gateway. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { build } from 'esbuild';
import { files, openPage, start, stop } from './browsers.js';
import { control } from './control.js';
import { until } from './stage.js';

const ALICE = 'acme:alice';

let place: string;
let url: string;
/** The code blocks to run, by the word after `runs`. */
const blocks = new Map<string, string[]>();

before(async () => {
  await start();
  ({ place, url } = await control.open({}));
  files['/relay-token'] = await control.token(place, ALICE, 600);
  files['/claimr-relay.min.js'] = readFileSync(join(ROOT, 'dist/claimr-relay.min.js'), 'utf8');
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  for (const [, kind, , code] of readme.matchAll(/<!-- runs(?:: (\w+))? -->\n```(\w+)\n([^]*?)\n```/g)) {
    const local = code!
      .replaceAll('wss://relay.example.com/v1', url.replace('http', 'ws'))
      .replaceAll('https://relay.example.com/v1', url)
      .replace(/https:\/\/unpkg.com\/.*\/dist/, '');
    blocks.set(kind ?? 'module', [...(blocks.get(kind ?? 'module') ?? []), local]);
  }
});
after(stop);

/** Runs a page and sends events until its console or text has shown each of `wanted`, in whatever order. */
async function shows(name: string, html: string, ...wanted: RegExp[]): Promise<void> {
  files[`/${name}.html`] = html;
  const page = await openPage('Chromium', '/blank.html');
  const said: string[] = [];
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(`uncaught ${error}`));
  try {
    await page.goto(new URL(`/${name}.html`, page.url()).href);
    await until(`${wanted.join(' and ')} in ${name}`, async () => {
      await control.publish(place, ALICE, 1);
      await control.publish(place, ALICE, 1, 'user_reward');
      const seen = [...said, await page.evaluate(() => document.body.innerText)].join('\n');
      return wanted.every((one) => one.test(seen));
    }).catch((error: Error) => {
      throw new Error(`${error.message}\n${said.join('\n')}`);
    });
    assert.ok(!said.some((line) => line.startsWith('uncaught')), said.join('\n'));
  } finally {
    await page.close();
  }
}

/** Bundles an example as an application would be, with this package from its `dist`. */
async function bundled(code: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: code, resolveDir: ROOT, loader: 'jsx' },
    jsx: 'automatic',
    bundle: true,
    format: 'esm',
    target: 'es2022',
    define: { 'process.env.NODE_ENV': '"development"' },
    logOverride: { 'bundler-feature-flag': 'silent' },
    write: false,
  });
  return `<!doctype html><div id="app"></div><script type="module">${outputFiles[0]!.text.replaceAll('</script', '<\\/script')}</script>`;
}

describe('README', () => {
  test('the first example and the iterator', async () => {
    assert.equal(blocks.get('module')!.length, 2);
    await shows('module', await bundled(blocks.get('module')!.join('\n')), /^task_completed/m, /^\+1 points$/m, /^connected false$/m);
  });

  test('the script tag, with its integrity', async () => {
    await shows('script', `<!doctype html>${blocks.get('script')![0]}`, /\+1 points/);
  });

  test('React', async () => {
    const draw = `import { createRoot } from 'react-dom/client'; createRoot(document.getElementById('app')).render(<App />);`;
    await shows('react', await bundled(blocks.get('react')![0] + draw), /task_completed/);
  });

  test('Vue', async () => {
    await shows('vue', await bundled(blocks.get('vue')![0]!), /task_completed/);
  });

  test('plain EventSource and plain WebSocket', async () => {
    const [eventSource, webSocket, ...more] = blocks.get('page')!;
    assert.equal(more.length, 0);
    for (const [name, code] of Object.entries({ eventSource, webSocket })) {
      const noted = code!.replace('console.log(', 'console.log("event", ');
      await shows(name, `<!doctype html><script type="module">${noted}</script>`, /event/);
    }
  });

  test('curl', async () => {
    const shell = spawn('bash', ['-c', `exec ${blocks.get('shell')![0]}`], { env: { ...process.env, TOKEN: files['/relay-token'] } });
    const lines: string[] = [];
    createInterface(shell.stdout).on('line', (line) => lines.push(line));
    try {
      await until('an event', async () => {
        await control.publish(place, ALICE, 1);
        return lines.some((line) => line.startsWith('data: ') && line.includes('"user_activity"'));
      });
    } finally {
      shell.kill();
    }
  });
});
