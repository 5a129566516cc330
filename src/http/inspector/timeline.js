// One delivery's way through the gateway, step by step, with the time since its first byte.
import { clockTime, h, icon, milliseconds } from '/dom.js';

/** How bad an outcome is. */
export const tone = (outcome) => ({ accepted: 'ok', duplicate: 'accent', dead_letter: 'warn' })[outcome] ?? 'bad';

const ordinal = (index) => (index == null ? '' : `secret ${index + 1}`);
const plural = (n, word) => `${n} ${word}${n === 1 ? '' : 's'}`;

/** A user key that leads to what is known of the user. */
const userLink = (key) => h('a', { class: 'mono', href: `#users/${encodeURIComponent(key)}` }, key);

function people(events) {
  return events.map((event) =>
    h('div', { class: 'event' },
      h('span', { class: 'chip' }, event.type),
      event.people.length === 0 && h('span', { class: 'muted' }, ' nobody'),
      event.people.map((person) =>
        h('div', { class: 'person' },
          person.keys.map((key, i) => h('span', {}, userLink(key), person.from?.[i] && h('span', { class: 'muted' }, ` from ${person.from[i]}`))),
        )),
      event.campaign && h('div', { class: 'person' }, 'broadcast in ', h('code', {}, event.campaign)),
    ));
}

/** Words of the gateway, in which `…` is code. */
const prose = (text) => text?.split('`').map((part, i) => (i % 2 ? h('code', {}, part) : part));

function repetition(stored) {
  if (stored.ids.length === 0) return ['no event to compare'];
  const kinds = stored.repetition ?? [];
  if (kinds.every((kind) => kind == null)) return [plural(stored.ids.length, 'new event')];
  return kinds.map((kind, i) => kind && h('div', {}, kind === 'other_body' ? 'The same delivery id as ' : 'A repetition of ', h('code', {}, stored.ids[i]), kind === 'other_body' ? ', over another body: the first stands' : ''));
}

function written(connections, stored) {
  if (connections > 0) return [`to ${plural(connections, 'session')}`];
  if (!stored?.ids.length) return ['nothing to write'];
  if (stored.repetition?.every((kind) => kind != null)) return ['not again'];
  return ['to nobody: nobody is connected, it is kept for resume'];
}

/** Each known step: its title, and what to say of it. A step that was not reached has `null`. */
function tell(delivery) {
  const step = Object.fromEntries(delivery.steps.map((step) => [step.step, step]));
  const { received, verified, addressed, stored, delivered } = step;
  const nobody = addressed && addressed.events.length === 0;
  return [
    ['received', 'Received', received, () => [`${delivery.source}${delivery.scope ? ` / ${delivery.scope}` : ''}, at ${clockTime(delivery.at)}`]],
    ['verified', verified?.ok === false ? 'Not verified' : 'Verified', verified, () => (verified.ok ? [verified.scheme ? ['by ', h('b', {}, verified.scheme), verified.header && [' in ', h('code', {}, verified.header)].flat(), ordinal(verified.secret) && `, ${ordinal(verified.secret)}`] : 'taken unsigned, as configured'] : prose(verified.why ?? delivery.outcome)), verified?.ok === false],
    ['addressed', delivery.outcome === 'payload_invalid' ? 'Not readable' : nobody ? 'Addressed to nobody' : 'Addressed', addressed, () => [...people(addressed.events), prose(addressed.why), addressed.dead_letters > 0 && h('div', { class: 'person' }, `${plural(addressed.dead_letters, 'part')} kept as a dead letter`)], nobody],
    ['deduplicated', 'De-duplicated', stored, () => repetition(stored)],
    ['stored', 'Stored', stored, () => [stored.ids.length ? h('code', {}, stored.ids.join(', ')) : 'as a dead letter only']],
    ['delivered', 'Written', delivered, () => written(delivered.connections, stored)],
  ];
}

/** The steps as a list. After a step that failed come those that were not reached. */
export function timeline(delivery) {
  return h('ol', { class: 'timeline' },
    tell(delivery).map(([name, title, step, words, failed]) =>
      h('li', { class: failed ? 'failed' : step ? 'done' : 'missed', 'data-step': name },
        h('span', { class: 'mark' }, icon(name)),
        h('div', { class: 'told' }, h('b', {}, title), h('div', { class: 'small words' }, step ? words().flat(3).filter(Boolean) : h('span', { class: 'muted' }, 'not reached'))),
        h('span', { class: 'small muted time' }, step && (step.us ? `+${milliseconds(step.us)}` : '0')),
      )));
}
