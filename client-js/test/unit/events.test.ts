/** The stream as an async iterator. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connected, publish } from './story.js';

test('iterates over events from the call on', async () => {
  const self = await connected();
  const events = self.relay.events('user_activity');
  publish(self, 3);
  const seen: string[] = [];
  for await (const { id } of events) {
    seen.push(id);
    if (seen.length == 3) break;
  }
  assert.deepEqual(seen, ['e1:1', 'e1:2', 'e1:3']);
  assert.deepEqual(await events.next(), { value: undefined, done: true });
});

test('connects like any other listener', async () => {
  const self = await connected();
  self.relay.close();
  self.relay.connect();
  const next = self.relay.events('*').next();
  await self.pass();
  publish(self);
  assert.equal((await next).value!.id, 'e1:1');
});

test('a slow reader loses the oldest, and is told once', async () => {
  const self = await connected();
  const events = self.relay.events('*');
  publish(self, 300);
  await self.pass();
  assert.deepEqual(self.gaps, ['overflow']);
  assert.equal((await events.next()).value!.id, 'e1:45');
  for (let i = 0; i < 255; i++) await events.next();
  const next = events.next();
  publish(self);
  assert.equal((await next).value!.id, 'e1:301');
  publish(self, 300);
  await self.pass();
  assert.deepEqual(self.gaps, ['overflow', 'overflow']);
});

test('ends by its signal, by close, and by return while somebody waits', async () => {
  const self = await connected();
  const control = new AbortController();
  const ends = { value: undefined, done: true };
  const signalled = self.relay.events('*', control).next();
  control.abort();
  assert.deepEqual(await signalled, ends);
  assert.deepEqual(await self.relay.events('*', control).next(), ends);
  const returned = self.relay.events('*');
  const waiting = returned.next();
  assert.deepEqual(await returned.return!(), ends);
  assert.deepEqual(await waiting, ends);
  const closed = self.relay.events('*').next();
  self.relay.close();
  assert.deepEqual(await closed, ends);
});

test('what came before the end is still read', async () => {
  const self = await connected();
  const events = self.relay.events('*');
  publish(self, 2);
  await self.pass();
  self.relay.close();
  const seen = [];
  for await (const { id } of events) seen.push(id);
  assert.deepEqual(seen, ['e1:1', 'e1:2']);
});

test('throws what closed the client for good', async () => {
  const self = await connected();
  const refused = assert.rejects(self.relay.events('*').next(), { code: 'forbidden', closeCode: 4403 });
  self.server.bye(4403, 'forbidden');
  await self.pass();
  await refused;
});

test('iterates over states as well', async () => {
  const self = await connected();
  const states = self.relay.events('status');
  self.server.cut();
  await self.pass();
  assert.equal((await states.next()).value!.status, 'reconnecting');
});
