/** The contract between client and gateway. Each scenario has a gateway of its own and runs in Node and in each browser. */
import type { Transport } from '../../src/types.js';
import { carriers, equal, type Runtime, sleep, Stage, until } from './stage.js';

export type Scenario = (runtime: Runtime) => Promise<void>;

/** Scenarios by name. */
export const scenarios: Record<string, Scenario> = {};

const tell = (name: string, play: (stage: Stage) => Promise<void>, options: Parameters<typeof Stage.open>[1] = {}) => {
  scenarios[name] = async (runtime) => {
    const stage = await Stage.open(runtime, options);
    try {
      await play(stage);
    } finally {
      await stage.close();
    }
  };
};

const onEach = (name: string, play: (stage: Stage, transports: readonly [Transport]) => Promise<void>, options: Parameters<typeof Stage.open>[1] = {}) => {
  for (const transport of carriers) tell(`${name}, over ${transport}`, (stage) => play(stage, [transport]), options);
};

const ALICE = 'acme:alice';

/** For tokens that live for seconds: a renewal that a busy machine delays must still come in time. */
const SLACK = { auth: { leeway: '5s' } };

onEach('events arrive live, and those of others do not', async (stage, transports) => {
  const alice = await stage.witness({ transports });
  const rewards = await stage.witness({ transports, types: ['user_reward'] });
  await stage.to.publish('acme:bob', 3);
  const ids = await stage.to.publish(ALICE, 3);
  const reward = await stage.to.publish(ALICE, 1, 'user_reward');
  await stage.heard(alice, [...ids, ...reward]);
  await stage.heard(rewards, reward);
  equal(alice.relay.transport, transports[0], 'transport');
  equal(alice.relay.lastEventId, reward[0], 'lastEventId');
  equal(alice.statuses, ['connecting', 'connected'], 'statuses');
});

onEach('resumes without loss after the gateway was killed', async (stage, transports) => {
  const alice = await stage.witness({ transports });
  const ids = await stage.to.publish(ALICE, 5);
  await stage.heard(alice, ids);
  for (let round = 0; round < 2; round++) {
    await stage.to.kill();
    await until('noticed', () => alice.relay.status == 'reconnecting');
    await stage.to.start();
    ids.push(...(await stage.to.publish(ALICE, 60)));
    await stage.heard(alice, ids);
  }
  equal(alice.gaps, [], 'gaps');
});

onEach('resumes without loss after a drain, not before it was asked to', async (stage, transports) => {
  const alice = await stage.witness({ transports });
  const ids = await stage.to.publish(ALICE, 5);
  await stage.heard(alice, ids);
  await stage.to.drain();
  await stage.to.start();
  ids.push(...(await stage.to.publish(ALICE, 5)));
  await stage.heard(alice, ids);
  equal([alice.errors[0]!.code, alice.errors[0]!.closeCode], ['draining', 4000], 'the goodbye');
  equal(alice.gaps, [], 'gaps');
});

onEach(
  'notices a frozen gateway, and comes back to it',
  async (stage, transports) => {
    const alice = await stage.witness({ transports });
    const ids = await stage.to.publish(ALICE, 2);
    await stage.heard(alice, ids);
    await stage.to.freeze();
    await until('noticed', () => alice.relay.status == 'reconnecting', 15_000);
    equal(alice.errors[0]!.code, 'silent', 'why');
    await stage.to.thaw();
    ids.push(...(await stage.to.publish(ALICE, 2)));
    await stage.heard(alice, ids);
  },
  { limits: { ping_interval_s: 1 } },
);

onEach('a token that expires is renewed without a lost or repeated event', async (stage, transports) => {
  const alice = await stage.witness({ transports, seconds: 4 });
  const ids: string[] = [];
  for (const end = Date.now() + 9_000; Date.now() < end; await sleep(100)) ids.push(...(await stage.to.publish(ALICE, 1)));
  await stage.heard(alice, ids);
  equal(alice.statuses, ['connecting', 'connected'], 'statuses');
  equal(alice.errors.map(String), [], 'errors');
  equal(alice.asked.slice(0, 3), ['initial', 'refresh', 'refresh'], 'tokens asked for');
  if (transports[0] == 'ws') {
    const { ws, sse, openWs } = await stage.to.traffic();
    equal([ws, openWs, sse], [1, 1, 0], 'one connection');
  } else {
    // A renewal dials beside the old connection, so for a moment there may be two.
    await until('one connection after the other', async () => {
      const { ws, sse, openSse } = await stage.to.traffic();
      return sse >= 3 && openSse == 1 && ws == 0;
    });
  }
}, SLACK);

onEach('does not reuse a stale token', async (stage, transports) => {
  let calls = 0;
  // The first token dies while nobody renews it, as in a sleeping laptop.
  const alice = await stage.witness({
    transports,
    getToken: async () => (calls++ == 1 ? Promise.reject(new Error('asleep')) : stage.to.token(ALICE, calls == 1 ? 2 : 600)),
  });
  await until('a new token', () => calls > 2 && alice.relay.status == 'connected');
  await stage.heard(alice, await stage.to.publish(ALICE, 1));
});

onEach('two refused tokens close for good', async (stage, transports) => {
  const alice = await stage.witness({ transports, wait: false, getToken: () => stage.to.token(ALICE, 600, true) });
  await until('closed', () => alice.relay.status == 'closed');
  const { code, closeCode, retryable } = alice.relay.error!;
  equal([code, closeCode, retryable], ['token_rejected', 4101, false], 'error');
  const { ws, sse } = await stage.to.traffic();
  equal(ws + sse, 2, 'dials');
});

onEach('signed out is idle, signed in is connected', async (stage, transports) => {
  let user: string | null = null;
  const alice = await stage.witness({ transports, wait: false, getToken: () => user && stage.to.token(user, 600) });
  await until('idle', () => alice.relay.status == 'idle');
  const { ws, sse } = await stage.to.traffic();
  equal(ws + sse, 0, 'dials');
  user = ALICE;
  await alice.relay.ready();
  await stage.heard(alice, await stage.to.publish(ALICE, 1));
});

tell("another user's token on a connection is forbidden", async (stage) => {
  let user = ALICE;
  const alice = await stage.witness({ transports: ['ws'], getToken: () => stage.to.token(user, 3) });
  user = 'acme:bob';
  await until('closed', () => alice.relay.status == 'closed');
  equal([alice.relay.error!.code, alice.relay.error!.closeCode], ['forbidden', 4403], 'error');
}, SLACK);

onEach(
  'events that the gateway no longer has are a gap, and then it goes on',
  async (stage, transports) => {
    const alice = await stage.witness({ transports });
    await stage.heard(alice, await stage.to.publish(ALICE, 1));
    await stage.to.rules({ refuse: true });
    await stage.to.cut();
    await stage.to.publish(ALICE, 20);
    await stage.to.rules({});
    await until('a gap', () => alice.gaps.length > 0);
    equal(alice.gaps, ['evicted'], 'gaps');
    const next = await stage.to.publish(ALICE, 1);
    await until('what comes after it', () => alice.ids.at(-1) == next[0]);
  },
  { store: { max_events_per_user: 5 } },
);

onEach('a new log is a gap, and then it goes on', async (stage, transports) => {
  const alice = await stage.witness({ transports });
  await stage.heard(alice, await stage.to.publish(ALICE, 1));
  await stage.to.kill();
  await stage.to.wipe();
  await stage.to.start();
  await until('a gap', () => alice.gaps.length > 0);
  equal(alice.gaps, ['other_epoch'], 'gaps');
  const ids = await stage.to.publish(ALICE, 2);
  await until('the new ones', () => alice.ids.at(-1) == ids.at(-1));
  equal(alice.ids.slice(1), ids, 'events');
});

tell('where a proxy blocks WebSocket, SSE takes over without a lost event', async (stage) => {
  await stage.to.rules({ blockWebSocket: true });
  const alice = await stage.witness({ transports: ['ws', 'sse'] });
  equal(alice.relay.transport, 'sse', 'transport');
  const ids = await stage.to.publish(ALICE, 3);
  await stage.heard(alice, ids);
  await stage.to.cut();
  ids.push(...(await stage.to.publish(ALICE, 3)));
  await stage.heard(alice, ids);
});

tell('a network that begins to block WebSocket loses nothing either', async (stage) => {
  const alice = await stage.witness({ transports: ['ws', 'sse'] });
  const ids = await stage.to.publish(ALICE, 3);
  await stage.heard(alice, ids);
  await stage.to.rules({ blockWebSocket: true });
  await stage.to.cut();
  ids.push(...(await stage.to.publish(ALICE, 3)));
  await stage.heard(alice, ids);
  equal(alice.relay.transport, 'sse', 'transport');
});

for (const minutes of [-10, 10]) {
  onEach(`a clock that is ${minutes} minutes off does not matter`, async (stage, transports) => {
    const skew = minutes * 60_000;
    const clock = {
      Date: { now: () => Date.now() + skew },
      Math,
      setTimeout: (callback: () => void, ms: number) => setTimeout(callback, ms),
      clearTimeout: (timer: never) => clearTimeout(timer),
    };
    const alice = await stage.witness({ transports, seconds: 4, clock });
    const ids: string[] = [];
    for (const end = Date.now() + 5_000; Date.now() < end; await sleep(250)) ids.push(...(await stage.to.publish(ALICE, 1)));
    await stage.heard(alice, ids);
    equal(alice.errors.map(String), [], 'errors');
    equal([alice.asked[0], alice.asked.length <= 4, alice.asked.length >= 2], ['initial', true, true], `tokens asked for: ${alice.asked}`);
  }, SLACK);
}

onEach(
  '2,000 events through forced cuts are the same ordered list',
  async (stage, transports) => {
    const alice = await stage.witness({ transports });
    const ids: string[] = [];
    for (let round = 0; round < 20; round++) {
      ids.push(...(await stage.to.publish(ALICE, 100)));
      if (round % 3 == 2) await stage.to.cut();
    }
    await stage.heard(alice, ids);
    equal(alice.gaps, [], 'gaps');
  },
  { store: { max_events_per_user: 10_000 } },
);

tell('too many sessions of one user slow down, and do not stop, the newest', async (stage) => {
  const first = await stage.witness();
  const second = await stage.witness({ wait: false });
  await until('told', () => second.errors.length > 0);
  equal([second.errors[0]!.code, second.relay.status, first.relay.status], ['too_many_sessions', 'connecting', 'connected'], 'state');
}, { limits: { sessions_per_user_max: 1 } });
