/** The life of a connection, as users of real-time clients tell it when it goes wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient, StopError } from '../../src/index.js';
import { createClient as sseOnly } from '../../src/only-sse.js';
import { createClient as wsOnly } from '../../src/only-ws.js';
import { FakeServer } from '../../src/testing.js';
import { connected, outage, page, publish, seqs, story } from './story.js';

test('touches nothing and nobody before the first listener', async () => {
  const server = new FakeServer();
  const relay = createClient({ ...server.options, getToken: () => 'token' });
  await server.clock.advance(60_000);
  assert.equal(relay.status, 'idle');
  assert.equal(server.dials.length, 0);
  relay.on('user_reward', () => {});
  await server.clock.advance(0);
  assert.equal(relay.status, 'connected');
  assert.equal(server.dials.length, 1);
});

test('is connected only when the gateway has said hello', async () => {
  const { server, relay, statuses, pass } = story();
  server.admit = () => 'silent';
  await pass(9_000);
  assert.deepEqual([relay.status, statuses], ['connecting', ['connecting', 'connecting, lost']]);
  server.admit = () => undefined;
  await pass(20_000);
  assert.equal(relay.status, 'connected');
});

test('hears events of its type, of any type, and each one once', async () => {
  const self = await connected();
  const { server, relay, events } = self;
  const rewards: number[] = [];
  relay.on('user_reward', ({ points }) => rewards.push(points!));
  server.publish({ type: 'user_reward', points: 5 });
  const twice = server.publish({ type: 'user_login' });
  server.session.send(twice);
  await self.pass();
  assert.deepEqual(rewards, [5]);
  assert.deepEqual(seqs(self), [1, 2]);
  assert.equal(relay.lastEventId, events[1]!.id);
});

test('keeps an event named like our own words from the listeners of those', async () => {
  const self = await connected();
  for (const type of ['status', 'gap', 'error', '*']) self.server.publish({ type });
  await self.pass();
  assert.deepEqual(self.events.map(({ type }) => type), ['status', 'gap', 'error', '*']);
  assert.deepEqual([self.gaps, self.errors, self.statuses], [[], [], ['connecting', 'connected']]);
});

test('a listener can be removed, by itself, by a signal, or after one call', async () => {
  const self = await connected();
  const { relay } = self;
  const heard: string[] = [];
  const off = relay.on('*', () => heard.push('off'));
  const control = new AbortController();
  relay.on('*', () => heard.push('signal'), control);
  relay.on('*', () => heard.push('once'), { once: true });
  relay.on('*', () => heard.push('always'));
  publish(self);
  await self.pass();
  off();
  control.abort();
  publish(self);
  await self.pass();
  assert.deepEqual(heard, ['off', 'signal', 'once', 'always', 'always']);
});

test('a listener that throws is reported and stops nobody else', async () => {
  const self = await connected();
  const reported: unknown[] = [];
  const before = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException').once('uncaughtException', (error) => reported.push(error));
  self.relay.on('*', () => {
    throw new Error('of the application');
  });
  let heard = 0;
  self.relay.on('*', () => heard++);
  publish(self);
  await self.pass();
  for (const listener of before) process.on('uncaughtException', listener);
  assert.equal(heard, 1);
  assert.equal(String(reported[0]), 'Error: of the application');
  assert.equal(self.relay.status, 'connected');
});

for (const [carrier, make] of [['WebSocket', wsOnly], ['SSE', sseOnly]] as const) {
  test(`an outage recovers without a lost event over ${carrier}`, async () => {
    const self = await connected({}, make);
    publish(self, 2);
    await self.pass();
    const back = outage(self);
    publish(self, 3);
    await self.pass(20_000);
    assert.equal(self.relay.status, 'reconnecting');
    back();
    await self.pass(30_000);
    assert.equal(self.relay.status, 'connected');
    publish(self);
    await self.pass();
    assert.deepEqual(seqs(self), [1, 2, 3, 4, 5, 6]);
    assert.deepEqual(self.gaps, []);
  });

  test(`a second outage recovers over ${carrier}`, async () => {
    const self = await connected({}, make);
    for (let i = 0; i < 5; i++) {
      const back = outage(self);
      publish(self);
      await self.pass(10_000);
      back();
      await self.pass(60_000);
      assert.equal(self.relay.status, 'connected', `after outage ${i + 1}`);
    }
    assert.deepEqual(seqs(self), [1, 2, 3, 4, 5]);
  });

  test(`notices a connection that went silent over ${carrier}`, async () => {
    const self = await connected({}, make);
    self.server.session.freeze();
    publish(self);
    await self.pass(34_000);
    assert.equal(self.relay.status, 'connected');
    await self.pass(5_000);
    assert.equal(self.errors[0]!.code, 'silent');
    assert.equal(self.relay.status, 'connected');
    assert.deepEqual(seqs(self), [1]);
  });

  test(`a quiet connection with pings stays over ${carrier}`, async () => {
    const self = await connected({}, make);
    self.server.ttlMs = 1e9;
    await self.pass(600_000);
    assert.equal(self.server.dials.length, self.server.dials[0]!.transport == 'ws' ? 1 : self.asked.length);
    assert.deepEqual(self.errors, []);
  });

  test(`asks only for the types it wants, and starts where it is told, over ${carrier}`, async () => {
    const self = await connected({ types: ['user_reward', 'referral'], since: '30s', url: 'https://relay.test/base/v1/?tenant=a' }, make);
    const { url } = self.server.dials[0]!;
    assert.equal(url.pathname, `/base/v1/${carrier == 'SSE' ? 'sse' : 'ws'}`);
    assert.deepEqual(Object.fromEntries(url.searchParams), { tenant: 'a', types: 'user_reward,referral', since: '30s' });
    publish(self);
    await self.pass();
    self.server.cut();
    await self.pass(2_000);
    const again = self.server.dials[1]!;
    assert.equal(again.cursor, 'e1:1');
    assert.equal(again.url.searchParams.get('since'), null);
  });
}

test('comes back after sleep', async () => {
  const window = page();
  const self = await connected();
  const { server, relay } = self;
  server.session.freeze();
  server.clock.sleep(3_600_000);
  publish(self, 2);
  window.show('visibilitychange');
  await self.pass(200);
  assert.equal(relay.status, 'connected');
  assert.deepEqual(seqs(self), [1, 2]);
  window.leave();
});

test('a clock that is set, ahead or back, does not keep it away', async () => {
  for (const ms of [-3_600_000, 3_600_000]) {
    const self = await connected();
    await self.pass(5_000);
    self.server.clock.set(ms);
    await self.pass(60_000);
    const back = outage(self);
    await self.pass(2_000);
    self.server.clock.set(ms);
    back();
    await self.pass(10_000);
    assert.equal(self.relay.status, 'connected');
    publish(self);
    await self.pass();
    assert.deepEqual(seqs(self), [1]);
  }
});

test('comes back at once when the network does, but not against the server’s word', async () => {
  const window = page();
  const self = await connected();
  let back = outage(self);
  await self.pass(60_000);
  back();
  window.show('online');
  await self.pass();
  assert.equal(self.relay.status, 'connected');

  self.server.bye(4000, 'draining', 20_000);
  await self.pass();
  const dials = self.server.dials.length;
  window.show('online');
  window.hidden = false;
  await self.pass(19_000);
  assert.equal(self.server.dials.length, dials);
  await self.pass(11_000);
  assert.equal(self.relay.status, 'connected');
  window.leave();
});

test('lets go of the connection in the back-forward cache, and resumes after it', async () => {
  const window = page();
  const self = await connected();
  window.show('pagehide', { persisted: true });
  await self.pass();
  assert.equal(self.server.sessions.size, 0);
  publish(self, 2);
  window.show('online');
  await self.pass(60_000);
  assert.equal(self.server.dials.length, 1);
  window.show('pageshow', { persisted: true });
  await self.pass();
  assert.deepEqual(seqs(self), [1, 2]);
  assert.ok(!self.statuses.some((status) => status.includes('lost')));
  window.leave();
});

test('pauses while hidden if asked to', async () => {
  const window = page();
  window.hidden = true;
  const self = await connected({ pauseWhenHidden: true });
  await self.pass(60_000);
  assert.equal(self.server.dials.length, 0);
  window.hidden = false;
  await self.pass();
  assert.equal(self.relay.status, 'connected');
  window.hidden = true;
  await self.pass();
  assert.equal(self.server.sessions.size, 0);
  publish(self);
  window.hidden = false;
  await self.pass();
  assert.deepEqual(seqs(self), [1]);
  window.leave();
});

test('removes its traces from the page when closed', async () => {
  const window = page();
  const self = await connected();
  self.relay.close();
  window.show('online');
  window.show('pageshow', { persisted: true });
  await self.pass(600_000);
  assert.equal(self.server.dials.length, 1);
  assert.equal(self.relay.status, 'closed');
  window.leave();
});

test('says so when the connection has been away for long, and when it is back', async () => {
  const self = await connected({ lostAfter: 3_000 });
  const back = outage(self);
  await self.pass(2_900);
  assert.equal(self.relay.lost, false);
  await self.pass(200);
  assert.equal(self.relay.lost, true);
  await self.pass(30_000);
  back();
  await self.pass(60_000);
  assert.deepEqual(self.statuses, ['connecting', 'connected', 'reconnecting', 'reconnecting, lost', 'connected']);
});

test('spreads its dials: full jitter, growing, capped', async () => {
  const self = await connected({ transports: ['ws'] });
  const at: number[] = [];
  const { clock } = self.server;
  clock.chance = 1;
  outage(self);
  self.server.admit = () => {
    at.push(clock.Date.now());
    return 'unreachable';
  };
  const start = clock.Date.now();
  await self.pass(200_000);
  const waits = at.map((time, i) => time - (at[i - 1] ?? start));
  assert.deepEqual(waits.slice(0, 8), [1100, 2100, 4100, 8100, 16100, 30100, 30100, 30100]);
});

test('the first delay is small again only after a connection that lasted', async () => {
  const self = await connected({ transports: ['ws'] });
  const { clock } = self.server;
  clock.chance = 1;
  const delay = async () => {
    const [start, dials] = [clock.Date.now(), self.server.dials.length];
    self.server.cut();
    while (self.server.dials.length == dials) await self.pass(100);
    return clock.Date.now() - start;
  };
  assert.deepEqual([await delay(), await delay(), await delay()], [1100, 2100, 4100]);
  await self.pass(30_000);
  assert.equal(await delay(), 1100);
});

test('slows down when told to', async () => {
  const self = await connected({ transports: ['ws'] });
  const { clock } = self.server;
  clock.chance = 1;
  self.server.admit = () => 4200;
  self.server.bye(4200, 'overloaded');
  await self.pass();
  for (const wait of [10_100, 20_100, 40_100, 80_100, 160_100, 300_100, 300_100]) {
    const dials = self.server.dials.length;
    await self.pass(wait - 1);
    assert.equal(self.server.dials.length, dials);
    await self.pass(1);
    assert.equal(self.server.dials.length, dials + 1);
  }
});

test('a server’s delay comes first, and is spread', async () => {
  const waits = [];
  for (const chance of [0, 0.5, 1]) {
    const self = await connected();
    self.server.clock.chance = chance;
    self.server.bye(4000, 'draining', 4_000);
    const start = self.server.clock.Date.now();
    while (self.server.dials.length < 2) await self.pass(50);
    waits.push(self.server.clock.Date.now() - start);
  }
  assert.deepEqual(waits, [4_000, 5_000, 6_000]);
});

test('stays away when sent away, and says where to read why', async () => {
  for (const code of [4400, 4403, 4406, 4409]) {
    const self = await connected();
    self.server.bye(code, 'go_away');
    await self.pass(600_000);
    assert.equal(self.server.dials.length, 1);
    const { error, status } = self.relay;
    assert.equal(status, 'closed');
    assert.deepEqual([error!.code, error!.closeCode, error!.retryable], ['go_away', code, false]);
    assert.match(error!.docs, /^https:.*errors\.md#go_away$/);
    assert.equal(self.errors.at(-1), error);
    await assert.rejects(self.relay.ready(), error!);
  }
});

test('a gap is told and moves the cursor', async () => {
  const self = await connected();
  publish(self, 2);
  await self.pass();
  const back = outage(self);
  publish(self, 2);
  self.server.evict();
  back();
  await self.pass(3_000);
  assert.deepEqual([self.gaps, self.relay.lastEventId], [['evicted'], 'e1:4']);

  self.server.renew('e2');
  self.server.cut();
  await self.pass(6_000);
  publish(self);
  await self.pass();
  assert.deepEqual(self.gaps, ['evicted', 'other_epoch']);
  assert.equal(self.relay.lastEventId, 'e2:1');
  assert.deepEqual(seqs(self), [1, 2, 1]);
});

test('ignores what an older socket still says', async () => {
  const self = await connected({ transports: ['ws'] });
  const old = self.server.session;
  self.relay.reconnect();
  await self.pass();
  publish(self);
  old.send({ type: 'user_activity', id: 'e1:99' });
  old.send({ type: '$bye', code: 4403, reason: 'forbidden' });
  await self.pass();
  assert.deepEqual(seqs(self), [1]);
  assert.equal(self.relay.status, 'connected');
});

test('frames that are not JSON end the connection, not the client', async () => {
  for (const make of [wsOnly, sseOnly]) {
    const self = await connected({}, make);
    for (const text of ['<html>', 'null', '{"id":"e1:5"}']) {
      self.server.session.send(text);
      await self.pass(40_000);
    }
    assert.equal(self.relay.status, 'connected');
    assert.deepEqual([self.server.dials.length, self.errors.length, self.events.length], [4, 3, 0]);
  }
});

test('says what is missing where there is no WebSocket, and uses SSE if it may', async () => {
  const self = await connected({ transports: ['ws'], WebSocket: undefined });
  assert.deepEqual([self.relay.status, String(self.errors[0]!.cause)], ['connecting', 'ReferenceError: WebSocket is not defined']);
  const other = await connected({ WebSocket: undefined });
  assert.deepEqual([other.relay.transport, other.errors], ['sse', []]);
});

test('close is for good, until connect', async () => {
  const self = await connected();
  publish(self);
  await self.pass();
  self.relay.close();
  publish(self);
  await self.pass(60_000);
  assert.deepEqual([self.relay.status, self.server.sessions.size, self.server.clock.pending], ['closed', 0, 0]);
  self.relay.on('user_login', () => {});
  await self.pass();
  assert.equal(self.relay.status, 'closed');
  self.relay.connect();
  await self.pass();
  assert.deepEqual(seqs(self), [1, 2]);
  assert.deepEqual(self.asked, ['initial', 'initial']);
});

test('a signal closes, and so does `using`', async () => {
  const control = new AbortController();
  const self = await connected({ signal: control.signal });
  control.abort();
  assert.equal(self.relay.status, 'closed');
  const other = await connected();
  other.relay[Symbol.dispose]();
  assert.equal(other.relay.status, 'closed');
  assert.equal(createClient({ ...other.server.options, getToken: () => 'x', signal: AbortSignal.abort() }).status, 'closed');
});

test('ready waits for the connection, and not for one that will never be', async () => {
  const server = new FakeServer();
  const relay = createClient({ ...server.options, getToken: () => 'token' });
  const ready = relay.ready();
  await server.clock.advance(0);
  await ready;
  await relay.ready();
  const stopped = createClient({
    ...server.options,
    getToken: () => {
      throw new StopError('no');
    },
  });
  await assert.rejects(stopped.ready(), { code: 'stopped', retryable: false });
});

test('resumes after a reload with session storage, and with a storage of one’s own', async () => {
  const kept = new Map<string, string>();
  const storage = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => void kept.set(key, value) };
  Object.assign(globalThis, { sessionStorage: storage });
  try {
    for (const resume of ['session', storage] as const) {
      kept.clear();
      const before = await connected({ resume });
      publish(before);
      await before.pass();
      before.relay.close();
      publish(before, 2);
      const after = await connected({ resume }, createClient, before.server);
      assert.deepEqual(seqs(after), [2, 3]);
    }
    kept.clear();
    const forgetful = await connected();
    publish(forgetful);
    await forgetful.pass();
    assert.deepEqual([...kept.keys()], []);
  } finally {
    Reflect.deleteProperty(globalThis, 'sessionStorage');
  }
});

test('tells a logger each step, and never the token', async () => {
  const told: string[] = [];
  const self = await connected({ logger: (message, detail) => told.push(message + JSON.stringify(detail)) });
  publish(self);
  await self.pass();
  self.server.bye(4100, 'token_expired');
  await self.pass(2_000);
  assert.ok(told.length > 5);
  assert.ok(!told.some((line) => line.includes('token-')));
});
