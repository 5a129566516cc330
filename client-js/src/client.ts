/**
 * The client: one state machine for every carrier.
 *
 * An attempt is `next` until its `$hello`, then `live`; whatever an attempt in neither place says is ignored, which is how
 * late words of an older socket are told from news. All waiting is kept as timestamps that one timer and every wake-up of the
 * page look at, because timers are throttled in hidden pages and stand still in sleeping machines.
 */
import { type Attempt, GRACE, STABLE, TOKEN_LIMIT, WORN } from './attempt.js';
import { backoff } from './backoff.js';
import type { Dial, Route } from './carrier.js';
import { createStore, isNews, type Store } from './cursor.js';
import { GatewayError, StopError } from './errors.js';
import { createHub } from './hub.js';
import { watchPage } from './lifecycle.js';
import type { ClientOptions, RelayClient } from './types.js';

export function makeClient(options: ClientOptions, makeRoute: (store: Store, now: () => number) => Route): RelayClient {
  const { clock = globalThis, connectTimeout = 1e4, lostAfter = 5e3, signal } = options;
  const now = () => clock.Date.now();
  const store = createStore(options);
  const route = makeRoute(store, now);
  const { client, emit, set } = createHub({ connect, reconnect, close }, options.logger);

  let live: Attempt | undefined;
  let next: Attempt | undefined;
  let timer: unknown;
  /** When to connect; or, while connected, when to renew the token. */
  let dialAt = Infinity;
  let lostAt = Infinity;
  let unwatch: (() => void) | undefined;
  /** The delay before the next dial is the server's wish: waking up does not shorten it. */
  let told = false;
  let paused = false;
  /** There has been a `$hello`. */
  let known = false;
  let failures = 0;
  let token: string | undefined;
  let reason = 'initial';
  let wornAt = Infinity;
  /** The gateway has accepted this token. */
  let proved = false;
  /** Fresh tokens refused in a row. */
  let refused = 0;
  client.lastEventId = store('cursor') || undefined;

  /** Looks at every deadline; `at` has come, even if somebody set the clock back. */
  function check(at = 0): void {
    const time = Math.max(at, now());
    for (const attempt of [live, next]) {
      if (attempt && time >= attempt.due) end(attempt, 0, attempt.token ? 'silent' : 'token_unavailable');
    }
    if (time >= dialAt) dial();
    if (time >= lostAt) {
      lostAt = Infinity;
      set({ status: client.status, lost: true });
    }
    arm();
  }

  function arm(): void {
    clock.clearTimeout(timer as never);
    const at = Math.min(live?.due ?? Infinity, next?.due ?? Infinity, dialAt, lostAt);
    if (at < Infinity) timer = clock.setTimeout(() => check(at), Math.min(at - now(), 2 ** 31 - 1));
  }

  /** There is no connection, but there shall be. */
  function away(): void {
    if (!paused && !client.lost) lostAt = Math.min(lostAt, now() + lostAfter);
    set({ status: known ? 'reconnecting' : 'connecting', lost: client.lost });
    arm();
  }

  function drop(): void {
    live?.abort();
    next?.abort();
    live = next = undefined;
    dialAt = lostAt = Infinity;
  }

  /** As if nothing had been before, but for the cursor. */
  function forget(): void {
    drop();
    unwatch?.();
    unwatch = token = undefined;
    reason = 'initial';
    refused = failures = 0;
  }

  /** Disconnected until somebody calls `connect`. */
  function rest(status: 'idle' | 'closed', error?: GatewayError): void {
    forget();
    arm();
    set({ status, error });
  }

  /** Connects; or, if connected, renews the token: in band, or by a connection beside the old one. */
  async function dial(): Promise<void> {
    const attempt: Attempt = (next = Object.assign(new AbortController(), {
      due: now() + TOKEN_LIMIT,
      wait: connectTimeout,
      since: Infinity,
      data(text?: string) {
        try {
          data(attempt, text);
        } catch (cause) {
          end(attempt, 0, '', 0, cause);
        }
      },
      end: (...how: Parameters<Dial['end']>) => end(attempt, ...how),
    }));
    const { signal } = attempt;
    dialAt = Infinity;
    if (!live) away();
    try {
      if (!token || now() >= wornAt) {
        const fresh = await options.getToken({ reason: token ? 'refresh' : reason, signal });
        if (signal.aborted) return;
        if (!fresh) return rest('idle');
        token = fresh;
        proved = false;
        wornAt = Infinity;
      }
      attempt.token = token;
      if (live?.auth) {
        next = undefined;
        live.token = token;
        live.auth(token);
      } else {
        const [name, carrier] = route.pick();
        attempt.name = name;
        attempt.due = now() + connectTimeout;
        attempt.cursor = client.lastEventId;
        attempt.auth = carrier(attempt as Dial, options);
      }
    } catch (cause) {
      end(attempt, 0, attempt.token ? '' : 'token_unavailable', 0, cause);
    }
    arm();
  }

  function data(attempt: Attempt, text?: string): void {
    if (attempt.signal.aborted) return;
    attempt.due = now() + attempt.wait;
    if (text == null) return;
    const frame = JSON.parse(text);
    const { type, id } = frame;
    if (type == '$hello') {
      if (attempt != live) live?.abort();
      live = attempt;
      next = undefined;
      known = true;
      attempt.since = now();
      attempt.wait = frame.ping_ms + GRACE;
      attempt.due = attempt.since + attempt.wait;
      lostAt = Infinity;
      route.worked?.(attempt.name!);
      accepted(frame.ttl_ms);
      // A connection made beside another one says hello behind what the other has delivered since.
      if (frame.resume == 'gap' || isNews(id, client.lastEventId)) move(id);
      set({ status: 'connected', transport: attempt.name });
    } else if (type == '$gap') {
      move(id);
      emit('gap', frame);
    } else if (type == '$auth') accepted(frame.ttl_ms);
    else if (type == '$bye') end(attempt, frame.code, frame.reason, frame.retry_after_ms);
    else if (id && type[0] != '$' && isNews(id, client.lastEventId)) {
      move(id);
      emit('*', frame);
    }
  }

  /** The gateway took the current token, which has `ttl` ms left by its own clock. */
  function accepted(ttl: number): void {
    proved = true;
    refused = 0;
    dialAt = wornAt = Math.min(wornAt, now() + Math.max(WORN * ttl, 1e3));
    arm();
  }

  function move(id: string): void {
    client.lastEventId = id;
    store('cursor', id);
  }

  /** An attempt is over, whether it failed, was ended by the server, or fell silent. */
  function end(attempt: Attempt, code: number, word = '', retryAfter = 0, cause?: unknown): void {
    if (attempt.signal.aborted) return;
    attempt.abort();
    const wasLive = attempt == live;
    if (wasLive) live = undefined;
    else next = undefined;

    const range = (code / 100) | 0;
    if (range == 41 && attempt.token == token) {
      if (!proved) refused++;
      token = undefined;
      reason = word;
    }
    const stop = cause instanceof StopError;
    const error = new GatewayError(stop ? 'stopped' : word || 'connection_lost', code, range != 44 && refused < 2 && !stop, cause);
    if (error.retryable) {
      if (now() - attempt.since >= STABLE) failures = 0;
      if (!next) {
        const slow = range == 42;
        const random = clock.Math.random();
        told = slow || retryAfter > 0;
        dialAt = now() + (retryAfter ? retryAfter * (1 + random / 2) : backoff(random, failures, slow, options.backoff));
        if (!wasLive && attempt.token && code < 4000 && route.failed?.(attempt.name!)) dialAt = 0;
        else failures++;
      }
      if (!live) away();
      arm();
    } else rest('closed', error);
    emit('error', error);
  }

  function sleep(): void {
    paused = true;
    drop();
    away();
  }

  function wake(seen: boolean): void {
    check();
    if (paused ? seen : !live && !next && !told) {
      paused = false;
      dial();
    }
  }

  function connect(): void {
    if (unwatch) return;
    paused = false;
    unwatch = watchPage(sleep, wake, options.pauseWhenHidden);
    if (!paused) dial();
  }

  function reconnect(): void {
    forget();
    connect();
  }

  function close(): void {
    rest('closed');
  }

  if (signal?.aborted) close();
  signal?.addEventListener('abort', close);
  return client;
}
