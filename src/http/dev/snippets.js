// How to build the stream into an application: each snippet works as it stands, with a token of the user who is signed in.
import { $, code, h, tabs } from './dom.js';
import { ask } from './connection.js';

const HOUR_S = 3600;

/** Each gives parts: a text, or [code]. */
const SNIPPETS = {
  npm: ({ url, token }) => [
    [`npm install claimr-relay`],
    [`import { createClient } from 'claimr-relay';

const relay = createClient({
  url: '${url}/v1',
  // In production: fetch it from your backend, which knows who is signed in.
  getToken: async () => '${token}',
});

relay.on('user_reward', (event) => console.log('got', event.reward?.name));
relay.on('user_activity', (event) => console.log(event.quest?.name, event.points));
relay.on('gap', () => location.reload()); // events may be missing: load the state anew`],
  ],
  'Script tag': ({ url, token }) => [
    [`<script src="${url}/dev/claimr-relay.js"></script>
<script>
  const relay = ClaimrRelay.createClient({
    url: '${url}/v1',
    getToken: () => '${token}',
  });
  relay.on('*', (event) => console.log(event.type, event));
</script>`],
  ],
  React: ({ url, token }) => [
    [`import { createClient } from 'claimr-relay';
import { RelayProvider, useRelayEvent, useRelayFeed, useRelayStatus } from 'claimr-relay/react';

// One client for the application: neither StrictMode nor hot reloading opens a second connection.
const relay = createClient({ url: '${url}/v1', getToken: async () => '${token}' });

export const App = () => <RelayProvider client={relay}><Rewards /></RelayProvider>;

function Rewards() {
  const { lost } = useRelayStatus();
  const rewards = useRelayFeed('user_reward');
  useRelayEvent('user_activity', (event) => toast(\`+\${event.points} points\`));
  return <>
    {lost && <p>Reconnecting…</p>}
    <ul>{rewards.map((event) => <li key={event.id}>{event.reward?.name}</li>)}</ul>
  </>;
}`],
  ],
  EventSource: ({ url, ticket }) => [
    'No library: a native EventSource sends no headers, so your page trades its token for a ticket, which is good for this origin only.',
    [`// POST ${url}/v1/tickets with "Authorization: Bearer <token>" gave this ticket:
const ticket = '${ticket}';
const events = new EventSource('${url}/v1/sse?ticket=' + ticket);

events.onmessage = ({ data }) => {
  const event = JSON.parse(data);
  console.log(event.type, event);
};
events.addEventListener('$gap', () => location.reload());`],
  ],
  WebSocket: ({ url, token }) => [
    'No library: the token travels as a subprotocol, because a URL ends up in logs.',
    [`const token = '${token}';
let cursor = '';

function connect() {
  const query = cursor && '?last_event_id=' + encodeURIComponent(cursor);
  const socket = new WebSocket('${url.replace('http', 'ws')}/v1/ws' + query, ['claimr.v1', 'claimr.bearer.' + token]);
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.id) cursor = frame.id;
    if (!frame.type.startsWith('$')) console.log(frame.type, frame);
  };
  // 40xx come back, 41xx with a new token, 42xx slow down, 44xx stay away.
  socket.onclose = ({ code }) => code < 4100 && setTimeout(connect, 1000 + Math.random() * 2000);
}
connect();`],
  ],
  curl: ({ url, token, curl, user }) => [
    `Watch the events of ${user}:`,
    [`curl -N ${url}/v1/sse -H 'Authorization: Bearer ${token}'`],
    'Send one, signed with the secret of this run, from another terminal:',
    [curl],
  ],
};

const id = (name) => name.toLowerCase().replace(' ', '-');

/** Makes the tabs; the snippets come with `showSnippets`. */
export function makeSnippets() {
  const names = Object.keys(SNIPPETS);
  $('#snippet-tabs').append(
    ...names.map((name) => h('button', { type: 'button', role: 'tab', id: `tab-${id(name)}`, 'aria-controls': `panel-${id(name)}` }, name)),
  );
  $('#snippet-panels').append(
    ...names.map((name) => h('div', { class: 'panel', role: 'tabpanel', id: `panel-${id(name)}`, 'aria-labelledby': `tab-${id(name)}` })),
  );
  tabs($('#snippet-tabs'))('panel-npm');
}

/** Fills the tabs for `user`; only the last user asked for is shown, however slowly the others are answered. */
let asked;
export async function showSnippets(user) {
  asked = user;
  const [{ token }, { curl }] = await Promise.all([ask('token', { user, ttl_s: HOUR_S }), ask('trigger', { scope: 'user_reward', user, send: false })]);
  const tickets = await fetch('/v1/tickets', { method: 'POST', headers: { Authorization: `Bearer ${token}` } });
  const { ticket } = await tickets.json();
  if (asked !== user) return;
  $('#snippets-user').textContent = user;
  const facts = { url: location.origin, token, ticket, curl, user };
  for (const [name, make] of Object.entries(SNIPPETS)) {
    const parts = make(facts).map((part) => (Array.isArray(part) ? code(part[0]) : h('p', { class: 'small muted' }, part)));
    $(`#panel-${id(name)}`).replaceChildren(...parts);
  }
}
