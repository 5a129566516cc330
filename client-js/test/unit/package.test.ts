/** The package as it is published: what each entry gives, and that loading it touches nothing. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';

const CORE = ['GatewayError', 'StopError', 'createClient'];
const ENTRIES: Record<string, string[]> = {
  '': CORE,
  '/ws': CORE,
  '/sse': CORE,
  '/react': ['RelayProvider', 'useRelay', 'useRelayEvent', 'useRelayFeed', 'useRelayStatus'],
  '/vue': ['relayPlugin', 'useRelay', 'useRelayEvent', 'useRelayFeed', 'useRelayStatus'],
  '/svelte': ['relayEvent', 'relayFeed', 'relayStatus'],
  '/query': ['invalidateOnEvents'],
  '/shared': ['createSharedClient'],
  '/testing': ['FakeClock', 'FakeServer'],
};

/** Globals that a page or a runtime may lack, and that must not be looked at before they are needed. */
const TRAPS = ['document', 'window', 'location', 'navigator', 'sessionStorage', 'localStorage', 'WebSocket', 'BroadcastChannel', 'addEventListener', 'fetch'];

for (const [subpath, names] of Object.entries(ENTRIES)) {
  test(`claimr-relay${subpath} loads as a module and by require, and touches nothing`, () => {
    const frameworks = /react|vue/.test(subpath) ? `await import('${subpath.slice(1)}');` : '';
    const program = `
      import { createRequire } from 'node:module';
      const require = createRequire(process.cwd() + '/');
      ${frameworks}
      for (const name of ${JSON.stringify(TRAPS)})
        Object.defineProperty(globalThis, name, { configurable: true, get() { throw new Error('touched ' + name); } });
      const names = [Object.keys(await import('claimr-relay${subpath}')), Object.keys(require('claimr-relay${subpath}'))];
      console.log(JSON.stringify(names.map((list) => list.filter((name) => name != '__esModule' && name != 'default').sort())));`;
    const answer = execFileSync(process.execPath, ['--input-type=module', '-e', program], { cwd: ROOT, encoding: 'utf8' });
    assert.deepEqual(JSON.parse(answer), [names, names]);
  });
}

test('the script gives one global, and touches nothing', () => {
  const context: { ClaimrRelay?: object } = {};
  runInNewContext(`${readFileSync(join(ROOT, 'dist/claimr-relay.min.js'), 'utf8')};globalThis.ClaimrRelay = ClaimrRelay`, context);
  assert.deepEqual(Object.keys(context), ['ClaimrRelay']);
  assert.deepEqual(Object.keys(context.ClaimrRelay!).sort(), ['GatewayError', 'StopError', 'createClient', 'createSharedClient']);
});

test('no dependencies, and a lock file without addresses', () => {
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { dependencies?: object };
  assert.equal(dependencies, undefined);
  assert.ok(!readFileSync(join(ROOT, 'package-lock.json'), 'utf8').includes('"resolved"'));
});

test('files are short enough to read', () => {
  for (const file of readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue;
    const text = readFileSync(join(ROOT, 'src', file), 'utf8');
    assert.ok(text.split('\n').length <= 251, `${file} has more than 250 lines`);
    assert.match(text, /^(\/\/\/ .*\n)?\/\*\*/, `${file} does not begin with what it is for`);
  }
});

test('the demo page of the gateway has this very script', () => {
  const page = join(ROOT, '../src/http/dev/claimr-relay.js');
  assert.equal(readFileSync(page, 'utf8'), readFileSync(join(ROOT, 'dist/claimr-relay.min.js'), 'utf8'), `npm run build, then copy dist/claimr-relay.min.js to ${page}`);
});

test('every error has a section that says what to do', () => {
  const sections = new Set([...readFileSync(join(ROOT, '../docs/errors.md'), 'utf8').matchAll(/^### (\w+)$|id="(\w+)"/gm)].map(([, a, b]) => a ?? b));
  const named = (file: string, pattern: RegExp) => {
    const path = join(ROOT, '..', file);
    return existsSync(path) ? [...readFileSync(path, 'utf8').matchAll(pattern)].map(([, name]) => name!) : [];
  };
  const words = [
    ...named('src/protocol/close.rs', /= \d{4}, "(\w+)"/g),
    ...['edge', 'error', 'origin', 'stream', 'ticket', 'webhook'].flatMap((file) => named(`src/http/${file}.rs`, /"([a-z]+_[a-z_]+)",\s*"[^"]* /g)),
    ...named('src/ingest.rs', /=> "(\w+)"/g),
    ...named('client-js/src/client.ts', /'(connection_lost|silent|token_unavailable|stopped)'/g),
    'closed',
    'http_502',
  ];
  assert.ok(words.length > 20);
  assert.deepEqual(words.filter((word) => !sections.has(word)), []);
});
