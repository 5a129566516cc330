// Connections, users, dead letters, and what was learnt: each view asks for what it shows.
import { api } from './api.js';
import { $, ago, bytes, clockTime, code, h } from '/dom.js';

const SESSIONS = 200;

const userLink = (key) => h('a', { class: 'mono', href: `#users/${encodeURIComponent(key)}` }, key);
const day = (at) => new Date(at).toLocaleString([], { dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' });

/** A button's work; what goes wrong stands where the button was. */
const working = (label, work, look = 'button small') =>
  h('button', { type: 'button', class: look, onclick: async ({ currentTarget: button }) => {
    button.disabled = true;
    try {
      button.textContent = (await work()) ?? label;
    } catch (error) {
      button.textContent = error.message;
    }
    button.disabled = false;
  } }, label);

const table = (names, rows) =>
  h('table', { class: 'table' }, h('thead', {}, h('tr', {}, names.map((name) => h('th', { scope: 'col' }, name)))), h('tbody', {}, rows.map((cells) => h('tr', {}, cells.map((cell) => h('td', {}, cell))))));

const sessionRow = (session) => [
  userLink(session.user),
  [h('span', { class: 'chip' }, session.carrier === 'sse' ? 'SSE' : 'WebSocket'), session.types?.length ? h('div', { class: 'small muted' }, session.types.join(', ')) : ''],
  h('span', { title: day(session.since) }, ago(session.since)),
  h('span', { class: 'mono' }, session.newest ?? '–'),
  session.queued_events ? h('span', { class: 'chip warn' }, `${session.queued_events} · ${bytes(session.queued_bytes)}`) : h('span', { class: 'muted' }, '0'),
  h('span', { class: 'mono muted' }, session.session),
];
const SESSION_COLUMNS = ['User', 'Carrier', 'For', 'Newest event', 'Waiting', 'Session'];

export async function showConnections() {
  const { total, sessions } = await api(`connections?limit=${SESSIONS}`);
  $('#connections-total').textContent = sessions.length < total ? `${sessions.length} of ${total}` : String(total);
  $('#connections-table').replaceChildren(sessions.length ? table(SESSION_COLUMNS, sessions.map(sessionRow)) : h('p', { class: 'empty' }, 'Nobody is connected.'));
}

let lookedUp = '';

/** Looks `key` up, or what is in the field. Nothing is drawn anew while nothing has changed, so that buttons keep what they say. */
export async function showUser(key = $('#user-key').value.trim(), again = true) {
  if (!key) return;
  const answer = await api(`users/${encodeURIComponent(key)}`);
  const wanted = $('#user-filter').value.trim().toLowerCase();
  const state = JSON.stringify([answer, wanted]);
  if (state === lookedUp && !again) return;
  lookedUp = state;
  const fits = (value) => !wanted || JSON.stringify(value).toLowerCase().includes(wanted);
  $('#user-result').replaceChildren(sessionsOf(answer), eventsOf(answer.events.filter(fits), wanted), deliveriesOf((answer.deliveries ?? []).filter(fits)));
}

const sessionsOf = ({ user, sessions }) =>
  h('div', { class: 'card' },
    h('header', {}, h('h2', { class: 'mono' }, user), h('span', { class: `chip ${sessions.length ? 'ok' : ''}` }, sessions.length ? `${sessions.length} connected` : 'not connected'),
      sessions.length > 0 && h('span', { class: 'end' }, working('End sessions', async () => `${(await api(`users/${encodeURIComponent(user)}/sessions`, { method: 'DELETE', body: {} })).closed} ended`))),
    sessions.length > 0 && h('div', { class: 'scroll' }, table(SESSION_COLUMNS, sessions.map(sessionRow))));

/** What an event is about, for somebody who looks for it. */
const about = (event) => [event.reward?.name, event.quest?.name, event.task?.name, event.name?.replaceAll('_', ' '), event.points > 0 && `+${event.points}`].filter(Boolean).join(' · ');

const eventsOf = (events, wanted) =>
  h('div', { class: 'card' },
    h('header', {}, h('h2', {}, 'Events'), h('span', { class: 'small muted' }, 'newest first')),
    h('div', { class: 'scroll' },
      events.length === 0
        ? h('p', { class: 'empty' }, wanted ? 'No event of this user fits. Either it never came, or it is older than the log.' : 'No event of this user is in the log.')
        : table(['When', 'What', 'Id', ''], events.map((event) => [
            h('span', { class: 'when' }, day(event.at)),
            [h('span', { class: 'chip' }, event.type), h('details', {}, h('summary', {}, about(event) || 'event'), h('pre', { class: 'mono' }, JSON.stringify(event, null, 2)))],
            h('span', { class: 'mono' }, event.id),
            working('Send again', async () => `to ${(await api(`events/${encodeURIComponent(event.id)}/replay`, { method: 'POST', body: {} })).connections}`),
          ]))));

const deliveriesOf = (deliveries) =>
  h('div', { class: 'card', hidden: deliveries.length === 0 },
    h('header', {}, h('h2', {}, 'Webhooks that named the user')),
    h('div', { class: 'scroll' }, table(['When', 'Scope', 'Outcome', 'Number'], deliveries.map((d) => [h('span', { class: 'when' }, day(d.at)), d.scope ?? '–', h('span', { class: 'chip' }, d.outcome.replaceAll('_', ' ')), `#${d.n}`]))));

const FATES = { delivered: 'ok', duplicate: 'accent', still_dead: 'warn' };
/** What became of letters that were sent again, as long as the page lives. */
const fates = new Map();
let letters = [];
let lettersShown = '';

async function replay(ids) {
  const { results } = await api('dead-letters/replay', { method: 'POST', body: { ids } });
  for (const result of results) fates.set(result.id, result);
  await showLetters();
}

export async function showLetters() {
  ({ dead_letters: letters } = await api('dead-letters'));
  const state = JSON.stringify([letters, ...fates.keys()]);
  if (state === lettersShown) return;
  lettersShown = state;
  $('#replay-all').hidden = letters.length < 2;
  $('#replay-all').onclick = () => replay(letters.map(({ id }) => id));
  const gone = [...fates.values()].filter(({ id, status }) => status !== 'still_dead' && !letters.some((letter) => letter.id === id));
  $('#letters').replaceChildren(
    ...gone.map((fate) => h('p', { class: 'fate small' }, h('span', { class: `chip ${FATES[fate.status]}` }, fate.status.replaceAll('_', ' ')), ` ${fate.ids?.join(', ') ?? ''}, to ${fate.connections ?? 0} session${fate.connections === 1 ? '' : 's'}`)),
    ...letters.map(letterCard),
    letters.length ? '' : h('p', { class: 'empty' }, 'No dead letter.'),
  );
}

const letterCard = (letter) => {
  const fate = fates.get(letter.id);
  let text = letter.body;
  try {
    text = JSON.stringify(typeof text === 'string' ? JSON.parse(text) : text, null, 2);
  } catch {
    // Not JSON: that may be why it is here.
  }
  return h('article', { class: 'letter' },
    h('div', { class: 'row' },
      h('span', { class: 'chip warn' }, letter.reason.replaceAll('_', ' ')),
      h('b', {}, letter.scope ?? letter.source),
      h('span', { class: 'small muted', title: day(letter.at) }, `${letter.source} · ${clockTime(letter.at)}`),
      fate && h('span', { class: `chip ${FATES[fate.status] ?? ''}` }, fate.status.replaceAll('_', ' ')),
      h('span', { class: 'end' }, working('Replay', () => replay([letter.id])))),
    h('details', {}, h('summary', { class: 'small' }, 'Body'), h('div', { class: 'code' }, h('pre', { tabIndex: 0 }, text))));
};

const lesson = (title, ...inside) => h('section', { class: 'lesson' }, h('h3', {}, title), ...inside);

/** Where each field stood, most often first. */
const places = (fields) => table(['Field', 'Stood at', 'In'], Object.entries(fields).flatMap(([field, places]) => places.map(({ path, seen }, i) => [i ? '' : field, h('span', { class: 'mono' }, path), `${seen} event${seen === 1 ? '' : 's'}`])));

const lessons = ({ source, deliveries, verified, signature, mapping, toml, unknown }) => [
  h('h2', {}, source, ' ', h('span', { class: 'chip' }, `${verified} of ${deliveries} genuine`)),
  lesson('To pin it', toml ? code(toml) : h('p', { class: 'small muted' }, 'Nothing to pin yet: deliveries have to come first.'), signature.line && h('p', { class: 'small muted' }, `The signature line fits ${signature.fits} of ${deliveries} deliveries.`)),
  Object.keys(mapping.fields).length > 0 && lesson('Where the fields stood', h('div', { class: 'scroll' }, places(mapping.fields))),
  unknown.length > 0 && lesson('What could not be told', h('ul', { class: 'unknown' }, unknown.map((words) => h('li', {}, words)))),
];

export async function showLessons() {
  const source = $('#filter-source').value;
  const { sources } = await api(source ? `learn?source=${encodeURIComponent(source)}` : 'learn');
  $('#lessons').replaceChildren(...sources.flatMap(lessons).filter(Boolean));
}
