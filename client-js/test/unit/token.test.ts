/** When a token is asked for, and what becomes of one that is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient, StopError } from '../../src/index.js';
import { createClient as sseOnly } from '../../src/only-sse.js';
import { createClient as wsOnly } from '../../src/only-ws.js';
import { FakeServer } from '../../src/testing.js';
import { connected, outage, publish, seqs, story } from './story.js';

const CARRIERS = [['WebSocket', wsOnly], ['SSE', sseOnly]] as const;

test('a token is used again while it is good', async () => {
  const self = await connected();
  for (let i = 0; i < 3; i++) {
    self.server.cut();
    await self.pass(20_000);
  }
  assert.equal(self.relay.status, 'connected');
  assert.deepEqual(self.asked, ['initial']);
});

for (const [carrier, make] of CARRIERS) {
  test(`does not reuse a stale token over ${carrier}`, async () => {
    const self = await connected({}, make);
    self.server.bye(4100, 'token_expired');
    await self.pass(3_000);
    assert.deepEqual(self.asked, ['initial', 'token_expired']);
    assert.equal(self.server.dials.at(-1)!.token, 'token-2');
    assert.equal(self.relay.status, 'connected');
  });

  test(`does not reconnect with a token past its best over ${carrier}`, async () => {
    const server = new FakeServer();
    server.ttlMs = 100_000;
    const self = await connected({}, make, server);
    const back = outage(self);
    await self.pass(81_000);
    back();
    await self.pass(40_000);
    assert.equal(self.server.dials.at(-1)!.token, 'token-2');
    assert.deepEqual(self.asked, ['initial', 'refresh']);
  });

  test(`two refusals of fresh tokens in a row close over ${carrier}`, async () => {
    const self = story({}, make);
    self.server.admit = () => 4101;
    await self.pass(60_000);
    assert.equal(self.server.dials.length, 2);
    assert.equal(self.relay.status, 'closed');
    assert.equal(self.relay.error!.closeCode, 4101);
    assert.deepEqual(self.asked, ['initial', 'refused_4101']);
  });

  test(`one refusal between good tokens does not close over ${carrier}`, async () => {
    const self = await connected({}, make);
    for (let i = 0; i < 4; i++) {
      let refused = false;
      self.server.admit = () => (refused ? undefined : ((refused = true), 4101));
      self.server.bye(4102, 'token_revoked');
      await self.pass(60_000);
      assert.equal(self.relay.status, 'connected');
    }
  });

  test(`a token is renewed at 80 % of its life, without a lost event, over ${carrier}`, async () => {
    const server = new FakeServer();
    server.ttlMs = 100_000;
    const self = await connected({}, make, server);
    await self.pass(79_000);
    assert.deepEqual(self.asked, ['initial']);
    publish(self, 2);
    await self.pass(2_000);
    publish(self, 2);
    await self.pass();
    assert.deepEqual(self.asked, ['initial', 'refresh']);
    assert.deepEqual([...self.server.sessions].map(({ token }) => token), ['token-2']);
    assert.deepEqual(self.statuses, ['connecting', 'connected']);
    assert.deepEqual(seqs(self), [1, 2, 3, 4]);
    await self.pass(80_000);
    assert.deepEqual(self.asked, ['initial', 'refresh', 'refresh']);
  });

  test(`a renewal that fails leaves the connection alone and is tried again over ${carrier}`, async () => {
    const server = new FakeServer();
    server.ttlMs = 100_000;
    let calls = 0;
    const getToken = () => {
      if (++calls == 2) throw new Error('backend down');
      return `token-${calls}`;
    };
    const self = await connected({ getToken }, make, server);
    await self.pass(80_500);
    assert.deepEqual(self.errors.map(({ code }) => code), ['token_unavailable']);
    await self.pass(10_000);
    assert.equal(calls, 3);
    assert.deepEqual(self.statuses, ['connecting', 'connected']);
    assert.equal(self.server.session.token, 'token-3');
  });

  test(`a renewal with somebody else's token is the server's to refuse over ${carrier}`, async () => {
    const server = new FakeServer();
    server.ttlMs = 100_000;
    const self = await connected({}, make, server);
    server.admit = server.admitToken = () => 4403;
    await self.pass(90_000);
    assert.deepEqual([self.relay.status, self.relay.error!.closeCode], ['closed', 4403]);
  });

  test(`an old token's end does not cost the new one over ${carrier}`, async () => {
    const server = new FakeServer();
    server.ttlMs = 100_000;
    let give = (_: string) => {};
    let calls = 0;
    const getToken = () => (++calls == 1 ? 'token-1' : new Promise<string>((resolve) => (give = resolve)));
    const self = await connected({ getToken }, make, server);
    await self.pass(80_500);
    server.bye(4100, 'token_expired');
    await self.pass(1_000);
    give('token-2');
    await self.pass(3_000);
    assert.deepEqual([self.relay.status, calls, server.session.token], ['connected', 2, 'token-2']);
  });
}

test('a skewed clock of the browser does not matter', async () => {
  for (const skew of [-600_000, 600_000]) {
    const server = new FakeServer();
    server.ttlMs = 100_000;
    server.clock.sleep(skew);
    const self = await connected({}, createClient, server);
    await self.pass(79_000);
    assert.deepEqual(self.asked, ['initial']);
    await self.pass(2_000);
    assert.deepEqual(self.asked, ['initial', 'refresh']);
  }
});

test('signed out is idle, and asks again only when told', async () => {
  let user: string | null = null;
  let calls = 0;
  const self = await connected({ getToken: () => (calls++, user) });
  self.relay.on('user_reward', () => {});
  await self.pass(600_000);
  assert.deepEqual([self.relay.status, calls, self.server.dials.length], ['idle', 1, 0]);
  user = 'token';
  self.relay.connect();
  await self.pass();
  assert.equal(self.relay.status, 'connected');
});

test('signing out while connected ends at the next renewal, or at once by close', async () => {
  const server = new FakeServer();
  server.ttlMs = 100_000;
  let user: string | null = 'token';
  const self = await connected({ getToken: () => user }, createClient, server);
  user = null;
  await self.pass(90_000);
  assert.deepEqual([self.relay.status, self.server.sessions.size], ['idle', 0]);
});

test('reconnect asks who it is now', async () => {
  let user = 'alice';
  const self = await connected({ getToken: () => user });
  user = 'bob';
  self.relay.reconnect();
  await self.pass();
  assert.equal(self.server.session.token, 'bob');
});

test('a backend that is down is tried again; one that says stop is not', async () => {
  let answer: () => string = () => {
    throw new Error('502');
  };
  const self = story({ getToken: async () => answer() });
  await self.pass(30_000);
  assert.ok(self.errors.length > 2);
  assert.ok(self.errors.every(({ code, retryable, cause }) => code == 'token_unavailable' && retryable && String(cause) == 'Error: 502'));
  assert.equal(self.server.dials.length, 0);
  answer = () => {
    throw new StopError('banned');
  };
  await self.pass(60_000);
  assert.deepEqual([self.relay.status, self.relay.error!.code, String(self.relay.error!.cause)], ['closed', 'stopped', 'Error: banned']);
});

test('getToken has ten seconds, one call at a time, and is told to stop', async () => {
  let running = 0;
  let most = 0;
  const signals: AbortSignal[] = [];
  const getToken = ({ signal }: { signal: AbortSignal }) => {
    signals.push(signal);
    most = Math.max(most, ++running);
    return new Promise<string>((_, reject) => {
      signal.addEventListener('abort', () => {
        running--;
        reject(signal.reason);
      });
    });
  };
  const self = story({ getToken });
  await self.pass(9_999);
  assert.equal(signals[0]!.aborted, false);
  await self.pass(1);
  assert.equal(signals[0]!.aborted, true);
  assert.equal(self.errors[0]!.code, 'token_unavailable');
  for (let i = 0; i < 5; i++) {
    self.relay.reconnect();
    self.relay.connect();
    await self.pass(500);
  }
  self.relay.close();
  await self.pass();
  assert.deepEqual([most, running], [1, 0]);
});

test('a token that comes too late is not used', async () => {
  const late: ((token: string) => void)[] = [];
  const self = story({ getToken: () => new Promise<string>((resolve) => late.push(resolve)) });
  await self.pass();
  self.relay.reconnect();
  await self.pass();
  late[1]!('bob');
  await self.pass();
  late[0]!('alice');
  await self.pass();
  assert.deepEqual(self.server.dials.map(({ token }) => token), ['bob']);
});
