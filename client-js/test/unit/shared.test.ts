/** Tabs that share a connection. Each is a client in this process; the browser between them is faked. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { createSharedClient } from '../../src/shared.js';
import { FakeServer } from '../../src/testing.js';
import type { ClientOptions, RelayClient } from '../../src/types.js';
import { seqs, story, type Story } from './story.js';

/** Web Locks: one holder of a name, the others wait their turn. */
class FakeLocks {
  readonly #turns = new Map<string, Promise<void>>();

  async request(name: string, { signal }: { signal: AbortSignal }, hold: () => Promise<void>): Promise<void> {
    const before = this.#turns.get(name);
    let done = () => {};
    this.#turns.set(name, new Promise((resolve) => (done = resolve)));
    await before;
    try {
      signal.throwIfAborted();
      await hold();
    } finally {
      done();
    }
  }
}

/** Delivers copies to all others of its name, later. */
class FakeChannel {
  static all = new Set<FakeChannel>();
  onmessage: ((event: { data: unknown }) => void) | undefined;

  constructor(readonly name: string) {
    FakeChannel.all.add(this);
  }

  postMessage(message: unknown): void {
    const data = structuredClone(message);
    for (const other of FakeChannel.all) {
      if (other == this || other.name != this.name) continue;
      queueMicrotask(() => FakeChannel.all.has(other) && other.onmessage?.({ data }));
    }
  }

  close(): void {
    FakeChannel.all.delete(this);
  }
}

const { navigator, BroadcastChannel: RealChannel, addEventListener } = globalThis;
beforeEach(() => {
  FakeChannel.all.clear();
  Object.defineProperty(globalThis, 'navigator', { value: { locks: new FakeLocks() }, configurable: true, writable: true });
  Object.assign(globalThis, { BroadcastChannel: FakeChannel });
});

afterEach(() => {
  Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true, writable: true });
  Object.assign(globalThis, { BroadcastChannel: RealChannel, addEventListener });
});

/** A tab with a page of its own. */
function tab(server: FakeServer, options: Partial<ClientOptions> = {}): Story & { page: EventTarget } {
  const page = new EventTarget();
  Object.assign(globalThis, { addEventListener: page.addEventListener.bind(page) });
  const make = (options: ClientOptions): RelayClient => createSharedClient(options);
  const self = { ...story(options, make, server), page };
  // The connection itself, made later, must not hear of one tab's page.
  Object.assign(globalThis, { addEventListener: undefined });
  return self;
}

const show = (page: EventTarget, type: string, persisted = true) => void page.dispatchEvent(Object.assign(new Event(type), { persisted }));

test('six tabs open one connection, and all hear', async () => {
  const server = new FakeServer();
  const tabs = Array.from({ length: 6 }, () => tab(server));
  await server.clock.advance(1_000);
  assert.equal(server.dials.length, 1);
  server.publish({ type: 'user_reward' });
  await server.clock.advance(0);
  for (const { relay, events } of tabs) assert.deepEqual([relay.status, relay.transport, events.length, relay.lastEventId], ['connected', 'ws', 1, 'e1:1']);
  assert.equal(tabs.reduce((sum, { asked }) => sum + asked.length, 0), 1);
});

test('when the leading tab closes another one takes over, and nothing is lost or repeated', async () => {
  const server = new FakeServer();
  const [first, ...others] = [tab(server), tab(server), tab(server)] as const;
  await server.clock.advance(0);
  server.publish({ type: 'user_reward' });
  await server.clock.advance(0);
  show(first.page, 'pagehide', false);
  server.publish({ type: 'user_reward' });
  await server.clock.advance(5_000);
  server.publish({ type: 'user_reward' });
  await server.clock.advance(0);
  assert.equal(server.sessions.size, 1);
  assert.equal(server.dials[1]!.cursor, 'e1:1');
  for (const other of others) {
    assert.deepEqual(seqs(other), [1, 2, 3]);
    assert.ok(!other.statuses.includes('closed'));
  }
});

test('close leaves the other tabs alone', async () => {
  const server = new FakeServer();
  const [first, second] = [tab(server), tab(server)];
  await server.clock.advance(0);
  first.relay.close();
  await server.clock.advance(5_000);
  assert.deepEqual([first.relay.status, second.relay.status, server.sessions.size], ['closed', 'connected', 1]);
  first.relay.connect();
  await server.clock.advance(0);
  server.publish({ type: 'user_reward' });
  await server.clock.advance(0);
  assert.deepEqual([first.events.length, second.events.length, server.sessions.size], [1, 1, 1]);
});

test('a tab back from the cache catches up from the others', async () => {
  const server = new FakeServer();
  const [leader, frozen] = [tab(server), tab(server)];
  await server.clock.advance(0);
  server.publish({ type: 'user_reward' });
  await server.clock.advance(0);
  show(frozen.page, 'pagehide');
  for (let i = 0; i < 3; i++) server.publish({ type: 'user_reward' });
  await server.clock.advance(0);
  assert.deepEqual(seqs(frozen), [1]);
  show(frozen.page, 'pageshow');
  await server.clock.advance(0);
  assert.deepEqual(seqs(frozen), [1, 2, 3, 4]);
  assert.deepEqual([seqs(leader), frozen.gaps, server.dials.length], [[1, 2, 3, 4], [], 1]);
});

test('a tab that was away for longer than the others remember is told of a gap', async () => {
  const server = new FakeServer();
  const [, frozen] = [tab(server), tab(server)];
  await server.clock.advance(0);
  show(frozen!.page, 'pagehide');
  for (let i = 0; i < 300; i++) server.publish({ type: 'user_reward' });
  await server.clock.advance(0);
  show(frozen!.page, 'pageshow');
  await server.clock.advance(0);
  assert.deepEqual(frozen!.gaps, ['overflow']);
  assert.equal(seqs(frozen!).at(-1), 300);
});

test('a gap, a failure and the end for good reach every tab', async () => {
  const server = new FakeServer();
  const tabs = [tab(server), tab(server)];
  await server.clock.advance(0);
  server.renew('e2');
  server.cut();
  await server.clock.advance(5_000);
  server.bye(4403, 'forbidden');
  await server.clock.advance(0);
  for (const { relay, gaps, errors } of tabs) {
    assert.deepEqual(gaps, ['other_epoch']);
    assert.deepEqual(errors.map(({ code }) => code), ['connection_lost', 'forbidden']);
    assert.deepEqual([relay.status, relay.error!.closeCode, relay.error!.retryable], ['closed', 4403, false]);
  }
});

test('any tab can ask for a new connection', async () => {
  const server = new FakeServer();
  const [leader, other] = [tab(server), tab(server)];
  await server.clock.advance(0);
  other.relay.reconnect();
  await server.clock.advance(0);
  assert.deepEqual([server.dials.length, server.sessions.size, leader.asked.length, other.asked.length], [2, 1, 2, 0]);
});

test('other types are another connection', async () => {
  const server = new FakeServer();
  tab(server, { types: ['user_reward'] });
  tab(server, { types: ['referral'] });
  await server.clock.advance(0);
  assert.equal(server.sessions.size, 2);
});

test('without locks or channels each tab has its own connection', async () => {
  for (const missing of ['navigator', 'BroadcastChannel']) {
    Object.defineProperty(globalThis, missing, { value: undefined, configurable: true, writable: true });
    const server = new FakeServer();
    tab(server);
    tab(server);
    await server.clock.advance(0);
    assert.equal(server.sessions.size, 2);
  }
});

test('where locks are refused, the tab leads alone', async () => {
  Object.assign(globalThis.navigator.locks, { request: () => Promise.reject(new DOMException('opaque origin', 'SecurityError')) });
  const server = new FakeServer();
  const alone = tab(server);
  await server.clock.advance(0);
  assert.equal(alone.relay.status, 'connected');
});
