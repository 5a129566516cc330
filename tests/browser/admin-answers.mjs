// Answers of the admin API, one for every fate that a webhook can have, so that the inspector is tried with all of them.

const T = Date.now() - 4000;

const body = (members) => JSON.stringify({ campaign_id: 'AbCd_123', campaign_name: 'Summer', ...members });
const headers = (signature) => [
  ['host', '127.0.0.1:8080'],
  ['content-type', 'application/json'],
  ['user-agent', 'claimr-hooks/1'],
  ...(signature ? [['x-signature', signature]] : []),
];
const verified = { step: 'verified', us: 31, ok: true, scheme: 'hmac', header: 'x-signature', secret: 0, why: null };
const alice = { keys: ['acme:alice', 'web3:0xabc0000000000000000000000000000000000001'], from: ['account+platform', 'wallet'] };

const delivery = (n, members) => withLength({
  n, at: T - (20 - n) * 7000, source: 'claimr', scope: 'user_activity', status: 200, outcome: 'accepted', took_us: 812,
  headers: headers('e866… (64 hex digits)'), body: body({ scope: 'user_activity', account: 'alice', platform: 'acme', contest_name: 'Warm up', event_xp: 250 }),
  steps: [
    { step: 'received', us: 0 },
    verified,
    { step: 'addressed', us: 40, events: [{ type: 'user_activity', people: [alice] }], dead_letters: 0 },
    { step: 'stored', us: 700, ids: [`k3f9a0b1c2:${1000 + n}`], repetition: [null] },
    { step: 'delivered', us: 705, connections: 2 },
  ],
  ...members,
});

const withLength = (delivery) => ({ ...delivery, body_bytes: delivery.body.length });

export const deliveries = [
  delivery(20, {}),
  delivery(19, {
    scope: 'referral', body: body({ scope: 'referral', user: { account: 'bob', platform: 'acme' }, referrer: { account: 'alice', platform: 'acme' } }),
    steps: [
      { step: 'received', us: 0 },
      verified,
      { step: 'addressed', us: 44, events: [{ type: 'referral', people: [{ keys: ['acme:bob'], from: ['user.account+user.platform'] }, { keys: ['acme:alice'], from: ['referrer.account+referrer.platform'] }] }], dead_letters: 0 },
      { step: 'stored', us: 641, ids: ['k3f9a0b1c2:1019'], repetition: [null] },
      { step: 'delivered', us: 649, connections: 1 },
    ],
  }),
  delivery(18, {
    outcome: 'duplicate',
    steps: [{ step: 'received', us: 0 }, verified, { step: 'addressed', us: 39, events: [{ type: 'user_activity', people: [alice] }], dead_letters: 0 }, { step: 'stored', us: 510, ids: ['k3f9a0b1c2:1017'], repetition: ['same'] }, { step: 'delivered', us: 512, connections: 0 }],
  }),
  delivery(17, {
    status: 401, outcome: 'signature_invalid', took_us: 96, headers: headers('77aa… (64 hex digits)'),
    steps: [{ step: 'received', us: 0 }, { step: 'verified', us: 88, ok: false, scheme: null, header: null, secret: null, why: '`x-signature` looks like a hexadecimal HMAC-SHA256, but none of the 1 secrets makes it over the body as received' }],
  }),
  delivery(16, {
    outcome: 'dead_letter', scope: 'user_reward', body: body({ scope: 'user_reward', reward: { id: 'rw_1', type: 'Badge', name: 'Early bird' } }),
    steps: [{ step: 'received', us: 0 }, verified, { step: 'addressed', us: 36, events: [], dead_letters: 1 }, { step: 'stored', us: 604, ids: [], repetition: [] }, { step: 'delivered', us: 606, connections: 0 }],
  }),
  delivery(15, {
    status: 400, outcome: 'payload_invalid', body: '{"scope":"user_activity",',
    steps: [{ step: 'received', us: 0 }, verified],
  }),
  delivery(14, { scope: 'user_login' }),
];

const session = (session, user, carrier, ago, members) => ({ session, user, keys: [user], carrier, since: T - ago, newest: 'k3f9a0b1c2:1020', queued_events: 0, queued_bytes: 0, types: [], ...members });
const sessions = [
  session('1f03a9c2b771', 'acme:alice', 'websocket', 640e3),
  session('1f03a9c2b772', 'acme:alice', 'sse', 30e3, { types: ['user_reward'] }),
  session('1f03a9c2b773', 'acme:bob', 'websocket', 7300e3, { newest: 'k3f9a0b1c2:1019', queued_events: 12, queued_bytes: 9120 }),
];

export const event = (n, type, members) => ({ id: `k3f9a0b1c2:${n}`, type, at: T - (1020 - n) * 60e3, ...members });
const events = [
  event(1020, 'user_activity', { name: 'quest_completed', points: 250, quest: { id: 'EfGh-456', name: 'Warm up' } }),
  event(1012, 'user_reward', { name: 'reward_claimed', reward: { id: 'rw_1', type: 'Gift Codes', name: 'Coffee on us' } }),
];

const answers = {
  'GET connections': () => ({ total: 3, sessions }),
  'GET users': (key) => ({ user: key, sessions: sessions.filter(({ user }) => user === key), events, deliveries: deliveries.slice(0, 2) }),
  'DELETE users': () => ({ closed: 2 }),
  'GET dead-letters': () => ({
    dead_letters: [
      { id: 'dl-2', at: T - 60e3, source: 'claimr', scope: 'user_reward', reason: 'no_user', body: body({ scope: 'user_reward', reward: { id: 'rw_1', name: 'Early bird' } }) },
      { id: 'dl-1', at: T - 90e3, source: 'claimr', scope: 'user_activity', reason: 'payload_invalid', body: '{"scope":"user_activity",' },
    ],
  }),
  'POST dead-letters': () => ({ results: [{ id: 'dl-2', status: 'delivered', ids: ['k3f9a0b1c2:1021'], connections: 2 }, { id: 'dl-1', status: 'still_dead', ids: [], connections: 0 }] }),
  'POST events': () => ({ connections: 2 }),
  'GET learn': () => ({
    sources: [
      {
        source: 'claimr', deliveries: 7, verified: 6,
        signature: { line: 'signature = { scheme = "hmac", header = "x-signature", algorithm = "sha256", encoding = "hex", prefix = "" }', fits: 6 },
        mapping: {
          events: 5,
          lines: ['quest_name = ["contest_name"]'],
          fields: { quest_name: [{ path: 'contest_name', seen: 5 }], accounts: [{ path: 'account+platform', seen: 4 }, { path: 'user.account+user.platform', seen: 1 }] },
          notes: [],
        },
        toml: '[[sources]]\nname = "claimr"\nsignature = { scheme = "hmac", header = "x-signature", algorithm = "sha256", encoding = "hex", prefix = "" }\n[sources.mapping]\nquest_name = ["contest_name"]',
        unknown: ['no delivery had a rank'],
      },
    ],
  }),
};

/** The answer to a request below `/admin/v1/`, or undefined. */
export function answerTo(method, url) {
  const [what, key = ''] = url.pathname.replace('/admin/v1/', '').split('/').map(decodeURIComponent);
  if (what === 'deliveries') {
    const [outcome, user] = ['outcome', 'user'].map((name) => url.searchParams.get(name));
    return { deliveries: deliveries.filter((d) => (!outcome || d.outcome === outcome) && (!user || JSON.stringify(d.steps).includes(user))) };
  }
  return answers[`${method} ${what}`]?.(key);
}
