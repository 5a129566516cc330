// One user's connection: client-js as anybody uses it, with a watched wire, and a token that can be made to end early.
import { watchedFetch, watchedSocket } from './wire.js';

const TOKEN_S = 600;
/** A token that is to be seen to end: long enough to see it connected. */
const SHORT_TOKEN_S = 3;
/** Where each user's stream was left, for as long as the page lives. */
const cursors = new Map();

/** Asks the backend of the demo; throws what it answers unless that is 2xx. */
export async function ask(what, body) {
  const response = await fetch(`/dev/api/${what}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error?.message ?? `status ${response.status}`);
  return answer;
}

/** Connects `user`, who follows `campaigns`, over `carrier` ('ws' or 'sse'). `page` is told: event(event, replayed), gap(gap), state(connection), wire(way, frame). */
export class Connection {
  hello;
  lastEnd;
  tokenEnds = 0;
  tokenLife = 1;
  #expiring = false;
  #toReplay = 0;
  #closed = false;

  constructor(user, carrier, campaigns, page) {
    this.user = user;
    this.campaigns = campaigns;
    this.page = page;
    const see = (way, frame) => this.#closed || this.#see(way, frame);
    this.relay = ClaimrRelay.createClient({
      url: '/v1',
      getToken: (asked) => this.#token(asked),
      transports: [carrier],
      // The first time, the page also shows what happened shortly before it was opened.
      since: '1h',
      resume: {
        getItem: () => cursors.get(user) ?? null,
        setItem: (_, cursor) => cursors.set(user, cursor),
      },
      WebSocket: watchedSocket(see),
      fetch: watchedFetch(see),
    });
    this.relay.on('*', (event) => page.event(event, this.#isReplayed()));
    this.relay.on('gap', (gap) => page.gap(gap));
    this.relay.on('error', (error) => {
      this.lastEnd = error;
      page.state(this);
    });
    this.relay.on('status', () => page.state(this));
  }

  /** The next token lives for three seconds, and the backend gives no other until it has ended. */
  expireToken() {
    this.#expiring = 'begin';
    this.relay.reconnect();
  }

  close() {
    this.#closed = true;
    this.relay.close();
  }

  async #token({ reason }) {
    if (this.#expiring === 'wait' && reason === 'refresh') throw new Error('the backend takes its time');
    const ttl = this.#expiring === 'begin' ? SHORT_TOKEN_S : TOKEN_S;
    this.#expiring = this.#expiring === 'begin' && 'wait';
    return (await ask('token', { user: this.user, ttl_s: ttl, campaigns: this.campaigns })).token;
  }

  #see(way, frame) {
    if (way === 'in' && frame.type === '$hello') {
      this.hello = frame;
      this.#toReplay = frame.replayed;
    }
    if (frame.ttl_ms != null) {
      this.tokenEnds = performance.now() + frame.ttl_ms;
      this.tokenLife = frame.ttl_ms;
    }
    this.page.wire(way, frame);
    // The client looks at the same frame after us.
    setTimeout(() => this.#closed || this.page.state(this));
  }

  #isReplayed() {
    return this.#toReplay > 0 && this.#toReplay-- > 0;
  }
}
