/** WebSocket first, SSE where it is blocked; and an outage is not a block. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from '../../src/index.js';
import { FakeServer } from '../../src/testing.js';
import { connected, outage, publish, seqs, story } from './story.js';

const MINUTE = 60_000;

/** A server behind a proxy that lets no WebSocket through. */
function blocked(server = new FakeServer()): FakeServer {
  server.admit = ({ transport }) => (transport == 'ws' ? 'unreachable' : undefined);
  return server;
}

const carriers = ({ dials }: FakeServer) => dials.map(({ transport }) => transport).join(' ');

test('where WebSocket is blocked, SSE is used at once and nothing is lost', async () => {
  const server = blocked();
  const self = await connected({}, createClient, server);
  assert.deepEqual([self.relay.transport, carriers(server)], ['sse', 'ws sse']);
  publish(self, 3);
  await self.pass();
  assert.deepEqual(seqs(self), [1, 2, 3]);
});

test('a proxy that swallows the handshake costs one time-out', async () => {
  const server = new FakeServer();
  server.admit = ({ transport }) => (transport == 'ws' ? 'silent' : undefined);
  const self = story({}, createClient, server);
  await self.pass(10_001);
  assert.equal(self.relay.transport, 'sse');
});

test('remembers what works, and tries WebSocket again later', async () => {
  const server = blocked();
  server.ttlMs = 1e9;
  const self = await connected({}, createClient, server);
  server.cut();
  await self.pass(2_000);
  assert.equal(carriers(server), 'ws sse sse');
  await self.pass(6 * MINUTE);
  server.cut();
  await self.pass(2_000);
  assert.equal(carriers(server), 'ws sse sse ws sse');
  await self.pass(6 * MINUTE);
  server.admit = () => undefined;
  server.cut();
  await self.pass(2_000);
  assert.equal(self.relay.transport, 'ws');
});

test('an outage does not move a client for which WebSocket works', async () => {
  const self = await connected();
  const back = outage(self);
  await self.pass(5_000);
  assert.ok(!carriers(self.server).includes('sse'));
  back();
  await self.pass(30_000);
  assert.equal(self.relay.transport, 'ws');
});

test('a network that begins to block WebSocket is noticed after a few tries', async () => {
  const self = await connected();
  blocked(self.server);
  self.server.cut();
  await self.pass(MINUTE);
  assert.equal(self.relay.transport, 'sse');
  assert.equal(carriers(self.server), 'ws ws ws ws ws sse');
});

test('a refusal by the gateway is not a block', async () => {
  const self = story();
  self.server.admit = () => 4201;
  await self.pass(5 * MINUTE);
  assert.ok(self.server.dials.length > 2);
  assert.ok(!carriers(self.server).includes('sse'));
});

test('nobody listening: both are tried, with the delay between the pairs', async () => {
  const self = story();
  outage(self);
  await self.pass(3_000);
  assert.match(carriers(self.server), /^ws sse ws sse( ws sse)*$/);
});

test('a new page remembers for half an hour what was blocked', async () => {
  const kept = new Map<string, string>();
  const sessionStorage = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => kept.set(key, value) };
  Object.assign(globalThis, { sessionStorage });
  const server = blocked();
  (await connected({}, createClient, server)).relay.close();
  await server.clock.advance(29 * MINUTE);
  (await connected({}, createClient, server)).relay.close();
  assert.equal(carriers(server), 'ws sse sse');
  await server.clock.advance(2 * MINUTE);
  (await connected({}, createClient, server)).relay.close();
  assert.equal(carriers(server), 'ws sse sse ws sse');
  Reflect.deleteProperty(globalThis, 'sessionStorage');
});

test('the order of carriers is the application’s', async () => {
  assert.equal((await connected({ transports: ['sse', 'ws'] })).relay.transport, 'sse');
  assert.equal((await connected({ transports: ['sse'] })).relay.transport, 'sse');
  const only = await connected({ transports: ['ws'] }, createClient, blocked());
  await only.pass(MINUTE);
  assert.ok(!carriers(only.server).includes('sse'));
});
