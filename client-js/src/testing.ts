/**
 * A gateway and a clock in memory, for tests of applications (and of this client): no network, no waiting.
 *
 * ```ts
 * const server = new FakeServer();
 * const relay = createClient({ ...server.options, getToken: () => 'alice' });
 * relay.on('user_reward', seen);
 * await server.clock.advance(0);
 * server.publish({ type: 'user_reward', points: 5 });
 * ```
 */
import { FakeClock } from './testing/clock.js';
import { type FakeSession, openSse, openWebSocket } from './testing/carriers.js';
import { isNews } from './cursor.js';
import type { RelayEvent, Transport } from './types.js';

export { FakeClock } from './testing/clock.js';
export type { FakeSession } from './testing/carriers.js';

/** Why a dial is refused: a close code; or `unreachable`, as when nobody listens or a proxy is in the way. */
export type Refusal = number | 'unreachable' | 'silent';

/** What a client dialled with. */
export interface FakeDial {
  transport: Transport;
  token: string;
  cursor: string | undefined;
  url: URL;
}

export class FakeServer {
  readonly clock = new FakeClock();
  /** Every dial so far. */
  readonly dials: FakeDial[] = [];
  /** The sessions that are open now. */
  readonly sessions = new Set<FakeSession>();
  /** In milliseconds, as `$hello` and `$auth` tell them. */
  pingMs = 25_000;
  ttlMs = 900_000;
  /** Positions are `<epoch>:<seq>`. Change it as a gateway with a new log would. */
  epoch = 'e1';
  /** Decides about a dial; returns a refusal, or nothing to accept. */
  admit: (dial: FakeDial) => Refusal | undefined = () => undefined;
  /** Decides about a token sent in band; returns a close code, or nothing to accept. */
  admitToken: (token: string) => number | undefined = () => undefined;

  readonly #log: RelayEvent[] = [];
  #seq = 0;
  #evicted = 0;
  #pinger: unknown;

  /** Give them to `createClient`. */
  readonly options = {
    url: 'https://relay.test/v1',
    clock: this.clock,
    WebSocket: openWebSocket(this),
    fetch: openSse(this),
  };

  /** The position after the last event. */
  get head(): string {
    return `${this.epoch}:${this.#seq}`;
  }

  /** The session of the client, if there is exactly one. */
  get session(): FakeSession {
    const [session, ...more] = this.sessions;
    if (!session || more.length) throw new Error(`${this.sessions.size} sessions are open`);
    return session;
  }

  /** Appends an event and sends it to every session. Returns it. */
  publish(event: Partial<RelayEvent> & { type: string }): RelayEvent {
    this.#seq++;
    const full: RelayEvent = { at: this.clock.Date.now(), ...event, id: this.head };
    this.#log.push(full);
    for (const session of this.sessions) session.send(full);
    return full;
  }

  /** Forgets the events up to now, as retention does. */
  evict(): void {
    this.#evicted = this.#seq;
    this.#log.length = 0;
  }

  /** A new log: other epoch, no events. */
  renew(epoch: string): void {
    this.epoch = epoch;
    this.#seq = 0;
    this.evict();
  }

  /** Says goodbye to every session. */
  bye(code: number, reason: string, retryAfterMs?: number): void {
    for (const session of [...this.sessions]) session.bye(code, reason, retryAfterMs);
  }

  /** Cuts every connection without a word. */
  cut(): void {
    for (const session of [...this.sessions]) session.cut();
  }

  /** What a session hears first. Called by the carriers. */
  welcome(session: FakeSession, cursor: string | undefined): void {
    this.sessions.add(session);
    const [epoch, seq] = (cursor ?? this.head).split(':');
    const gap =
      epoch != this.epoch ? 'other_epoch' : Number(seq) < this.#evicted ? 'evicted' : Number(seq) > this.#seq ? 'ahead_of_head' : '';
    const id = gap ? `${this.epoch}:${this.#evicted}` : (cursor ?? this.head);
    const missed = this.#log.filter((event) => isNews(event.id, id));
    session.send({
      type: '$hello',
      v: 1,
      session: String(this.dials.length),
      id,
      ping_ms: this.pingMs,
      ttl_ms: this.ttlMs,
      resume: gap ? 'gap' : cursor ? 'resumed' : 'fresh',
      replayed: missed.length,
    });
    if (gap) session.send({ type: '$gap', id, reason: gap });
    for (const event of missed) session.send(event);
    this.#pinger ??= this.clock.setTimeout(() => this.#ping(), this.pingMs);
  }

  #ping(): void {
    for (const session of this.sessions) session.send({ type: '$ping' });
    this.#pinger = this.sessions.size ? this.clock.setTimeout(() => this.#ping(), this.pingMs) : undefined;
  }
}
