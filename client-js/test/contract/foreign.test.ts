/** Clients that are not ours: each gets 2,000 events through forced cuts, and ends with the same ordered list. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, describe, test } from 'node:test';
import { fetchEventSource } from '@microsoft/fetch-event-source';
import { EventSource } from 'eventsource';
import { WebSocket } from 'ws';
import { closeAll, control } from './control.js';
import { until } from './stage.js';

const ALICE = 'acme:alice';
const COUNT = 2_000;

/** What a client is given, and whom it tells. */
interface Ears {
  url: string;
  token: string;
  ready(): void;
  hear(id: string): void;
}

/** Starts a client; returns what stops it. */
type Client = (ears: Ears) => () => void;

interface Frame {
  type: string;
  id?: string;
}

const take = ({ ready, hear }: Ears, { type, id }: Frame) => {
  if (type == '$hello') ready();
  else if (type[0] != '$') hear(id!);
};

const ws: Client = (ears) => {
  let cursor = '';
  let stopped = false;
  let socket: WebSocket;
  const dial = () => {
    if (stopped) return;
    const query = cursor && `?last_event_id=${cursor}`;
    socket = new WebSocket(`${ears.url.replace('http', 'ws')}/ws${query}`, ['claimr.v1'], { headers: { authorization: `Bearer ${ears.token}` } });
    socket.on('message', (data) => {
      const frame = JSON.parse(String(data)) as Frame;
      cursor = frame.id ?? cursor;
      take(ears, frame);
    });
    socket.on('error', () => {});
    socket.on('close', () => setTimeout(dial, 50));
  };
  dial();
  return () => {
    stopped = true;
    socket.terminate();
  };
};

const eventsource: Client = (ears) => {
  const source = new EventSource(`${ears.url}/sse`, {
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${ears.token}` } }),
  });
  source.addEventListener('$hello', () => ears.ready());
  source.onmessage = ({ data, lastEventId }) => {
    assert.equal((JSON.parse(data) as Frame).id, lastEventId);
    ears.hear(lastEventId);
  };
  return () => source.close();
};

const microsoft: Client = (ears) => {
  const control = new AbortController();
  // It wants a window for its timers, and a document to take its leave of.
  Object.assign(globalThis, { window: globalThis, document: { removeEventListener() {} } });
  void fetchEventSource(`${ears.url}/sse`, {
    headers: { Authorization: `Bearer ${ears.token}` },
    openWhenHidden: true,
    fetch,
    signal: control.signal,
    onmessage: ({ data }) => void (data && take(ears, JSON.parse(data) as Frame)),
    // By default the end of a stream is the end; an error is tried again after the server's `retry`.
    onclose: () => {
      throw new Error('closed');
    },
    onerror: () => 50,
  });
  return () => control.abort();
};

const python = (name: string): Client => (ears) => {
  const path = process.env.PYTHON ?? join(ROOT, '.work/venv/bin/python');
  assert.ok(existsSync(path), `no Python with foreign/requirements.txt at ${path}: run client-js/run-tests, or set PYTHON`);
  const child = spawn(path, [join(ROOT, 'test/contract/foreign/clients.py'), name, ears.url, ears.token, String(COUNT)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  createInterface(child.stdout).on('line', (line) => (line == 'ready' ? ears.ready() : ears.hear(line)));
  return () => void child.kill();
};

const CLIENTS: Record<string, Client> = {
  'npm ws': ws,
  'npm eventsource': eventsource,
  'npm @microsoft/fetch-event-source': microsoft,
  'PyPI websockets': python('websockets'),
  'PyPI aiohttp': python('aiohttp'),
  'PyPI httpx-sse': python('httpx-sse'),
};

after(closeAll);

describe('foreign clients', { concurrency: 6 }, () => {
  for (const [name, client] of Object.entries(CLIENTS)) {
    test(`${name} hears ${COUNT} events through forced cuts`, async () => {
      const { place, url } = await control.open({ store: { max_events_per_user: 10_000 } });
      const heard: string[] = [];
      let hellos = 0;
      const stop = client({ url, token: await control.token(place, ALICE, 600), ready: () => hellos++, hear: (id) => heard.push(id) });
      try {
        await until('hello', () => hellos > 0);
        const ids: string[] = [];
        for (let round = 0; round < 20; round++) {
          ids.push(...(await control.publish(place, ALICE, COUNT / 20)));
          if (round % 6 != 5) continue;
          const before = hellos;
          await control.cut(place);
          // A client that waits for the server's `retry` takes 2 to 5 s.
          await until('a new connection', () => hellos > before);
        }
        await until(`${COUNT} events`, () => heard.length >= COUNT, 60_000);
        assert.deepEqual(heard, ids);
        assert.ok(hellos > 3);
      } finally {
        stop();
        await control.close(place);
      }
    });
  }
});
