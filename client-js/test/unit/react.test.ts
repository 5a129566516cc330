/** The hooks, in StrictMode, on a server, and signed out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { act, createElement as h, type ReactNode, StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { createClient } from '../../src/index.js';
import { RelayProvider, useRelay, useRelayEvent, useRelayFeed, useRelayStatus } from '../../src/react.js';
import { FakeServer } from '../../src/testing.js';
import type { RelayClient } from '../../src/types.js';
import { dom } from './dom.js';

function View({ onReward }: { onReward?: (points: number) => void }): ReactNode {
  const { status, lost } = useRelayStatus();
  const feed = useRelayFeed('user_activity', 2);
  useRelayEvent('user_reward', ({ points }) => onReward?.(points!));
  return h('p', null, `${status}${lost ? ' lost' : ''} ${feed.map(({ name }) => name).join()}`);
}

async function render(tree: ReactNode) {
  const leave = dom();
  const place = document.createElement('div');
  const root = createRoot(place);
  const draw = (tree: ReactNode) => act(async () => root.render(tree));
  await draw(tree);
  return {
    draw,
    text: () => place.textContent!.trim(),
    async leave() {
      await act(async () => root.unmount());
      leave();
    },
  };
}

const newClient = (server: FakeServer) => createClient({ ...server.options, getToken: () => 'token' });

test('StrictMode opens one connection', async () => {
  const server = new FakeServer();
  const clients = new Set<RelayClient>();
  function App() {
    const [client] = useState(() => newClient(server));
    clients.add(client);
    return h(RelayProvider, { client }, h(View), h(View));
  }
  const page = await render(h(StrictMode, null, h(App)));
  await act(() => server.clock.advance(5_000));
  assert.equal(page.text(), 'connected connected');
  assert.equal(server.dials.length, 1);
  assert.equal(server.sessions.size, 1);
  await page.leave();
});

test('hears events with the latest handler, and lists the newest first', async () => {
  const server = new FakeServer();
  const client = newClient(server);
  const heard: string[] = [];
  const tree = (name: string) => h(RelayProvider, { client }, h(View, { onReward: (points) => heard.push(`${name} ${points}`) }));
  const page = await render(tree('first'));
  await act(() => server.clock.advance(0));
  server.publish({ type: 'user_reward', points: 1 });
  await act(() => server.clock.advance(0));
  await page.draw(tree('second'));
  server.publish({ type: 'user_reward', points: 2 });
  for (const name of ['a', 'b', 'c']) server.publish({ type: 'user_activity', name });
  await act(() => server.clock.advance(0));
  assert.deepEqual(heard, ['first 1', 'second 2']);
  assert.equal(page.text(), 'connected c,b');
  await page.leave();
  server.publish({ type: 'user_reward', points: 3 });
  await server.clock.advance(0);
  assert.equal(heard.length, 2);
});

test('shows that the connection is lost, and back', async () => {
  const server = new FakeServer();
  const page = await render(h(RelayProvider, { client: newClient(server) }, h(View)));
  await act(() => server.clock.advance(0));
  server.admit = () => 'unreachable';
  server.cut();
  await act(() => server.clock.advance(6_000));
  assert.equal(page.text(), 'reconnecting lost');
  server.admit = () => undefined;
  await act(() => server.clock.advance(60_000));
  assert.equal(page.text(), 'connected');
  await page.leave();
});

test('signed out: a null client, later a real one', async () => {
  const server = new FakeServer();
  const page = await render(h(RelayProvider, { client: null }, h(View)));
  assert.equal(page.text(), 'idle');
  await page.draw(h(RelayProvider, { client: newClient(server) }, h(View)));
  await act(() => server.clock.advance(0));
  assert.equal(page.text(), 'connected');
  await page.leave();
});

test('another client begins with an empty list', async () => {
  const [first, second] = [new FakeServer(), new FakeServer()];
  const page = await render(h(RelayProvider, { client: newClient(first) }, h(View)));
  await act(() => first.clock.advance(0));
  first.publish({ type: 'user_activity', name: 'of the first user' });
  await act(() => first.clock.advance(0));
  assert.equal(page.text(), 'connected of the first user');
  await page.draw(h(RelayProvider, { client: newClient(second) }, h(View)));
  await act(() => second.clock.advance(0));
  assert.equal(page.text(), 'connected');
  await page.leave();
});

test('rendering on a server connects nobody', async () => {
  const server = new FakeServer();
  const html = renderToString(h(RelayProvider, { client: newClient(server) }, h(View)));
  await server.clock.advance(1_000);
  assert.equal(html, '<p>idle </p>');
  assert.equal(server.dials.length, 0);
});

test('the client is at hand', () => {
  const client = newClient(new FakeServer());
  let found;
  function Probe() {
    found = useRelay();
    return null;
  }
  renderToString(h(RelayProvider, { client }, h(Probe)));
  assert.equal(found, client);
});
