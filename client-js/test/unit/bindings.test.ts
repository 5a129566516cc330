/** Vue, Svelte and TanStack Query. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { QueryClient } from '@tanstack/query-core';
import { get } from 'svelte/store';
import { createClient } from '../../src/index.js';
import { invalidateOnEvents } from '../../src/query.js';
import { relayEvent, relayFeed, relayStatus } from '../../src/svelte.js';
import { FakeServer } from '../../src/testing.js';
import { dom } from './dom.js';

const newClient = (server: FakeServer) => createClient({ ...server.options, getToken: () => 'token' });

test('Vue: composables follow the client, and end with their component', async () => {
  const leave = dom();
  const { createApp, createSSRApp, h, nextTick } = await import('vue');
  // The built module: in a bundle of this file Vue would be loaded before there is a document.
  const { createClient } = await import('claimr-relay');
  const newClient = (server: FakeServer) => createClient({ ...server.options, getToken: () => 'token' });
  const { relayPlugin, useRelayEvent, useRelayFeed, useRelayStatus } = await import('claimr-relay/vue');
  const heard: number[] = [];
  const View = {
    setup() {
      const state = useRelayStatus();
      const feed = useRelayFeed('user_activity', 2);
      useRelayEvent('user_reward', ({ points }) => heard.push(points!));
      return () => h('p', `${state.value.status} ${feed.value.map(({ name }) => name).join()}`);
    },
  };
  const server = new FakeServer();
  const place = document.createElement('div');
  const app = createApp(View).use(relayPlugin(newClient(server)));
  app.mount(place);
  await server.clock.advance(0);
  server.publish({ type: 'user_reward', points: 5 });
  for (const name of ['a', 'b', 'c']) server.publish({ type: 'user_activity', name });
  await server.clock.advance(0);
  await nextTick();
  assert.equal(place.textContent, 'connected c,b');
  app.unmount();
  server.publish({ type: 'user_reward', points: 6 });
  await server.clock.advance(0);
  assert.deepEqual(heard, [5]);

  const none = document.createElement('div');
  createApp(View).use(relayPlugin(null)).mount(none);
  assert.equal(none.textContent!.trim(), 'idle');
  leave();

  const { renderToString } = await import('vue/server-renderer');
  const still = new FakeServer();
  assert.equal(await renderToString(createSSRApp(View).use(relayPlugin(newClient(still)))), '<p>idle </p>');
  await still.clock.advance(1_000);
  assert.equal(still.dials.length, 0);
});

test('Svelte: stores follow the client while somebody subscribes', async () => {
  const server = new FakeServer();
  const client = newClient(server);
  assert.deepEqual(get(relayStatus(client)), { status: 'idle', lost: false });
  await server.clock.advance(1_000);
  assert.equal(server.dials.length, 0, 'on a server nobody connects');

  const leave = dom();
  const states: string[] = [];
  const off = relayStatus(client).subscribe(({ status }) => states.push(status));
  let feed: readonly unknown[] = [];
  relayFeed(client, 'user_activity', 2).subscribe((events) => (feed = events));
  let last: { points?: number } | undefined;
  relayEvent(client, 'user_reward').subscribe((event) => (last = event));
  await server.clock.advance(0);
  const [a, b, c] = ['a', 'b', 'c'].map((name) => server.publish({ type: 'user_activity', name }));
  server.publish({ type: 'user_reward', points: 5 });
  await server.clock.advance(0);
  assert.ok(a);
  assert.deepEqual(feed, [c, b]);
  assert.equal(last!.points, 5);
  off();
  client.close();
  assert.deepEqual(states, ['idle', 'connecting', 'connected']);
  assert.deepEqual(get(relayStatus(null)), { status: 'idle', lost: false });
  leave();
});

test('TanStack Query: an event makes its queries stale, and a gap all of them', async () => {
  const server = new FakeServer();
  const client = newClient(server);
  const queries = new QueryClient();
  for (const key of ['rewards', 'profile', 'other']) queries.setQueryData([key], 1);
  const stale = () => ['rewards', 'profile', 'other'].filter((key) => queries.getQueryState([key])!.isInvalidated);
  const off = invalidateOnEvents(client, queries, {
    user_reward: [['rewards']],
    user_activity: (event) => (event && event.points == 0 ? [] : [['profile']]),
  });
  await server.clock.advance(0);
  server.publish({ type: 'user_reward' });
  server.publish({ type: 'user_activity', points: 0 });
  await server.clock.advance(0);
  assert.deepEqual(stale(), ['rewards']);
  queries.setQueryData(['rewards'], 2);
  server.renew('e2');
  server.cut();
  await server.clock.advance(5_000);
  assert.deepEqual(stale(), ['rewards', 'profile']);
  queries.setQueryData(['rewards'], 3);
  off();
  server.publish({ type: 'user_reward' });
  await server.clock.advance(0);
  assert.deepEqual(stale(), ['profile']);
});
