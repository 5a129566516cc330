// The demo page: a user, the four kinds of webhooks, the connection, and what can go wrong with it.
import { Connection, ask } from './connection.js';
import { $, clockTime, h, icon, milliseconds } from './dom.js';
import { addEvent, addGap, showFeed, toast, words } from './feed.js';
import { makeSnippets, showSnippets } from './snippets.js';

const USERS = ['alice', 'bob', 'carol'];
const SCOPES = [
  ['user_activity', 'Complete a quest', () => 'points are earned'],
  ['user_reward', 'Receive a reward', () => 'a badge, a code, a role'],
  ['referral', 'Refer a friend', (user) => `${next(user)} joins: both hear of it`],
  ['user_login', 'Sign in', () => 'with wallet, X or Discord'],
];
const TROUBLES = [
  ['drop', '4002', 'Drop the connection', 'The gateway ends the session as if the line were dead; the page resumes.'],
  ['expire', '4100', 'Expire the token', 'A token of 3 s, and a backend that is slow to renew it.'],
  ['burst', '4001', 'Overflow the session', 'More at once than may wait for one session; the log has the rest.'],
  ['restart', '4000', 'Restart the gateway', 'Drain, close, open the same log again: the cursor still counts.'],
  ['wipe', '$gap', 'Lose the log', 'A restart with an empty log: the gateway says so instead of pretending.'],
];
const WIRE_MAX = 80;
/** Of every delivery of the demo. */
const CAMPAIGN = 'AbCd_123';
const OPENED = Date.now();

const next = (user) => USERS[(USERS.indexOf(user) + 1) % USERS.length];

let user = 'alice';
let carrier = 'ws';
let connection;
/** Since the page came back: how many of the missed events had a toast of their own. */
let caughtUp = 0;
/** When events arrived here, and what is waited for. */
const arrived = new Map();
let awaited;

const page = {
  event(event, replayed) {
    addEvent(user, event, replayed);
    arrived.set(event.id, performance.now());
    showArrival();
    const [title, text] = words(event);
    // What happened before the page was opened is history, and a long absence is one piece of news, not fifty.
    if (event.at < OPENED && replayed) return;
    if (!replayed || ++caughtUp <= 3) toast(event.type, title, text, event);
  },

  gap(gap) {
    addGap(user, gap);
    toast('gap', 'Something may be missing', 'A real page would load its state anew now.');
  },

  wire(way, frame) {
    if (frame.type === '$hello') caughtUp = 0;
    const arrow = { in: '↓', out: '↑', end: '×' }[way];
    const kind = frame.type[0] === '$' ? 'chip accent' : way === 'end' ? 'chip bad' : 'chip';
    const line = h('li', {}, h('span', { class: 'muted' }, clockTime(Date.now())), h('span', { title: { in: 'received', out: 'sent', end: 'closed' }[way] }, arrow), h('span', { class: frame.type === '$bye' || frame.type === '$gap' ? 'chip warn' : kind }, frame.type), h('span', { class: 'rest' }, describe(frame)));
    const list = $('#wire');
    list.prepend(line);
    while (list.children.length > WIRE_MAX) list.lastElementChild.remove();
  },

  state(of) {
    const { relay, hello, lastEnd } = of;
    const up = relay.status === 'connected';
    $('#status').dataset.status = relay.status;
    const word = { idle: 'not connected', closed: 'closed', connecting: 'connecting', reconnecting: 'coming back', connected: 'connected' }[relay.status];
    if ($('#status-word').textContent !== word) $('#status-word').textContent = word;
    $('#status-why').textContent = up || !lastEnd ? '' : `${lastEnd.closeCode || ''} ${lastEnd.code.replaceAll('_', ' ')}`;
    $('#fact-session').textContent = up ? hello.session : '–';
    $('#fact-cursor').textContent = relay.lastEventId ?? '–';
    $('#fact-resume').replaceChildren(hello ? h('span', { class: `chip ${{ fresh: '', resumed: 'ok', gap: 'warn' }[hello.resume]}` }, hello.resume) : '–');
    $('#fact-replayed').textContent = hello ? `${hello.replayed} event${hello.replayed === 1 ? '' : 's'}` : '–';
    // Drained streams are sent away for a while, so that not everybody comes back at once; who looks on need not wait.
    $('#now').hidden = relay.status !== 'reconnecting';
    document.body.dataset.status = relay.status;
    document.body.dataset.resume = hello?.resume ?? '';
  },
};

function describe(frame) {
  const { type, id, resume, replayed, code, reason, retry_after_ms, ttl_ms, name } = frame;
  if (type === '$hello') return `${resume} · ${replayed} replayed · token ${Math.round(ttl_ms / 1e3)} s`;
  if (type === '$bye') return `${code} ${reason}${retry_after_ms ? ` · back in ${(retry_after_ms / 1e3).toFixed(1)} s` : ''}`;
  if (type === '$gap') return `${reason} · ${id}`;
  if (type === '$auth') return ttl_ms ? `renewed · token ${Math.round(ttl_ms / 1e3)} s` : 'a new token';
  if (type === 'close') return `${code ?? ''} ${reason ?? ''}`;
  return id ? `${name ?? ''} · ${id}` : '';
}

/** Signs `who` in: another token, another stream. */
function connect() {
  connection?.close();
  connection = new Connection(user, carrier, $('#follow').checked ? [CAMPAIGN] : [], page);
  page.state(connection);
}

function signIn(who) {
  user = who;
  $('#feed-user').textContent = user;
  for (const [scope, , text] of SCOPES) $(`[data-send=${scope}] .text`).textContent = text(user);
  showFeed(user);
  connect();
  showSnippets(user).catch((error) => toast('gap', 'No snippets', error.message));
}

/** Sends one webhook and shows its way. */
async function send(scope) {
  awaited = { sent: performance.now() };
  const journey = $('#journey');
  journey.dataset.at = 'sent';
  $('#stop-shown').textContent = 'shows it';
  $('#stop-stored').textContent = 'verifies and stores';
  const { status, answer, took_us } = await ask('trigger', { scope, user });
  const { ids = [], duplicate, connections, error } = answer ?? {};
  $('#answer').replaceChildren(
    h('span', { class: `chip ${status === 200 ? 'ok' : 'bad'}` }, String(status)),
    ' ',
    error ? error.code : [`cursor ${ids.join(', ')}`, duplicate ? 'a duplicate' : 'not a duplicate', `${connections} connection${connections === 1 ? '' : 's'}`].join(' · '),
  );
  $('#stop-stored').textContent = `on disk, answered in ${milliseconds(took_us)}`;
  journey.dataset.at = 'stored';
  awaited.id = ids[0];
  showArrival();
}

/** The event may be here before the answer is. */
function showArrival() {
  const at = awaited && arrived.get(awaited.id);
  if (!at) return;
  $('#journey').dataset.at = 'shown';
  $('#stop-shown').textContent = `after ${milliseconds((at - awaited.sent) * 1e3)}`;
  awaited = undefined;
}

const makeTrouble = {
  drop: () => ask('drop', { user }),
  expire: () => connection.expireToken(),
  burst: () => ask('burst', { user }),
  restart: () => ask('restart', { keep_log: true }),
  wipe: () => ask('restart', { keep_log: false }),
};

/** A button's work, during which it cannot be pressed again. */
const working = (work) => async (event) => {
  const button = event.currentTarget;
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    toast('gap', 'That did not work', error.message);
  }
  button.disabled = false;
  // A disabled button loses the focus, which the keyboard needs back.
  if (document.activeElement === document.body) button.focus({ preventScroll: true });
};

const choice = (group, values, chosen, change) =>
  Object.entries(values).map(([value, label]) => h('label', {}, h('input', { type: 'radio', name: group, value, checked: value === chosen, onchange: () => change(value) }), h('span', {}, label)));

function begin() {
  $('#users').append(...choice('user', Object.fromEntries(USERS.map((name) => [name, name])), user, signIn));
  $('#carriers').append(...choice('carrier', { ws: 'WebSocket', sse: 'SSE' }, carrier, (value) => ((carrier = value), connect())));
  $('#scopes').append(
    ...SCOPES.map(([scope, title]) =>
      h('button', { type: 'button', class: 'scope', 'data-send': scope, onclick: working(() => send(scope)) },
        h('span', { class: 'symbol', 'data-scope': scope }, icon(scope)),
        h('span', { class: 'what' }, h('b', {}, title), h('span', { class: 'small muted text' }), h('code', { class: 'muted' }, scope)),
      )),
  );
  $('#troubles').append(
    ...TROUBLES.map(([what, code, title, text]) =>
      h('li', {}, h('button', { type: 'button', class: 'trouble', 'data-trouble': what, onclick: working(makeTrouble[what]) }, h('b', {}, title), h('code', { class: 'chip' }, code), h('span', { class: 'small muted' }, text)))),
  );
  $('#follow').addEventListener('change', connect);
  $('#now').addEventListener('click', () => connection.relay.reconnect());
  makeSnippets();
  signIn(user);
  setInterval(showToken, 250);
  fetch('/dev/api/config').then((response) => response.json()).then(({ inspector }) => ($('#inspector').href = inspector));
}

function showToken() {
  const left = Math.max(0, connection.tokenEnds - performance.now());
  const up = connection.relay.status === 'connected';
  $('#token-left').value = up ? left / connection.tokenLife : 0;
  const s = Math.ceil(left / 1e3);
  const text = up ? `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')} left` : '–';
  if ($('#fact-token').textContent !== text) $('#fact-token').textContent = text;
}

begin();
