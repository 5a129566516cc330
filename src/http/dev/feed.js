// What the user sees of an event: a line in the feed, and a toast that goes by itself.
import { $, clockTime, h, icon } from './dom.js';

const LINES_MAX = 60;
const TOASTS_MAX = 3;
const TOAST_MS = 6000;
const KNOWN = ['user_activity', 'user_reward', 'referral', 'user_login'];

/** What happened, in a user's words. Every field may be absent: show what is there. */
export function words(event) {
  const { type, name, quest, task, reward, referral } = event;
  const what = (name ?? type).replaceAll('_', ' ');
  if (type === 'user_reward') return [reward?.name ?? 'A reward', reward?.type ? `${reward.type} received` : what];
  if (type === 'referral') return referral?.role === 'referrer' ? ['A friend joined', 'through your link'] : ['Welcome', 'you joined through a friend'];
  if (type === 'user_login') return ['Signed in', event.campaign?.name ?? what];
  return [quest?.name ?? task?.name ?? what, what];
}

const symbol = (type) => h('span', { class: 'symbol', 'data-scope': type }, icon(KNOWN.includes(type) ? type : type === 'gap' ? 'gap' : 'unknown'));

const points = (event) => event.points > 0 && h('span', { class: 'points' }, `+${event.points}`);

/** Each user's lines, newest first, so that they are there again when the user is. */
const feeds = new Map();

/** Shows the lines of `user`. */
export function showFeed(user) {
  const lines = feeds.get(user) ?? [];
  $('#feed').replaceChildren(...lines);
  count(lines);
}

function add(user, line) {
  const lines = feeds.get(user) ?? [];
  feeds.set(user, lines);
  lines.unshift(line);
  $('#feed').prepend(line);
  for (const old of lines.splice(LINES_MAX)) old.remove();
  count(lines);
}

function count(lines) {
  const events = lines.filter((line) => line.dataset.id).length;
  $('#feed-empty').hidden = lines.length > 0;
  $('#feed').hidden = !lines.length;
  $('#feed-count').textContent = events ? `${events} event${events > 1 ? 's' : ''}` : '';
}

/** A line for an event. */
export function addEvent(user, event, replayed) {
  const [title, text] = words(event);
  add(
    user,
    h('li', { class: 'line', 'data-id': event.id, 'data-scope': event.type, 'data-replayed': String(replayed) },
      symbol(event.type),
      h('div', { class: 'what' }, h('b', {}, title), h('span', { class: 'small muted' }, text)),
      h('div', { class: 'when' },
        h('span', {}, points(event), event.broadcast && h('span', { class: 'chip' }, 'broadcast'), replayed && h('span', { class: 'chip accent' }, 'replayed')),
        h('span', { class: 'small muted' }, clockTime(event.at)),
      ),
    ),
  );
}

/** A line for a hole in the stream. */
export function addGap(user, gap) {
  add(user, h('li', { class: 'line gap' }, symbol('gap'), h('div', { class: 'what' }, h('b', {}, 'Gap'), h('span', { class: 'small muted' }, `What came before may be incomplete: ${gap.reason.replaceAll('_', ' ')}`))));
}

/** A toast; it stays while it is looked at. */
export function toast(type, title, text, event) {
  const region = $('#toasts');
  let timer;
  const go = () => element.remove();
  const arm = () => (timer = setTimeout(go, TOAST_MS));
  const stay = () => clearTimeout(timer);
  const close = h('button', { type: 'button', class: 'button quiet small square', 'aria-label': 'Dismiss', onclick: go }, '×');
  const element = h('div', { class: 'toast', 'data-scope': type, onmouseenter: stay, onmouseleave: arm, onfocusin: stay, onfocusout: arm },
    symbol(type),
    h('div', { class: 'what' }, h('b', {}, title), h('span', { class: 'small muted' }, text)),
    event && points(event),
    close,
  );
  region.append(element);
  while (region.children.length > TOASTS_MAX) region.firstElementChild.remove();
  arm();
}
