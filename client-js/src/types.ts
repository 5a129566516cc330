/// <reference lib="esnext.disposable" preserve="true" />
/**
 * What an application sees: events, options, the client. No code.
 */
import type { GatewayError } from './errors.js';

/** A thing with an id and, where claimr names it, a name. */
export interface Named {
  id: string;
  name?: string;
  [unknown: string]: unknown;
}

/**
 * Totals of the user at the time of the event. They are snapshots: they also change without an event (recalculation,
 * withdrawals), so show the newest and never add them, or `points`, up.
 */
export interface Totals {
  xp?: number;
  ref_xp?: number;
  ugc_xp?: number;
  xp_mul?: number;
  rank?: number;
  ref_count?: number;
  [unknown: string]: unknown;
}

/** One event of the signed-in user, or of a campaign that the user follows. Fields that claimr's payload lacks are absent; fields we do not know are kept. */
export interface RelayEvent {
  /** The position in the gateway's log, opaque. Two events with one id are the same event. */
  id: string;
  /** claimr's scope, for example `user_reward`. */
  type: string;
  /** When the gateway accepted it, in milliseconds since 1970. */
  at: number;
  /**
   * True if this is what another person did, which you hear because the token names its campaign (claim `campaigns`): do not show it as
   * the user's own. What it shows is what the gateway's operator allows.
   */
  broadcast?: true;
  /** What happened, in claimr's words, for example `task_completed`. */
  name?: string;
  /** Points of this event alone. */
  points?: number;
  campaign?: Named;
  quest?: Named;
  task?: Named;
  totals?: Totals;
  reward?: { id?: string; type?: string; name?: string; [unknown: string]: unknown };
  referral?: { role?: 'referrer' | 'referred' | (string & {}); [unknown: string]: unknown };
  /** The payload as claimr sent it, after the gateway's field policy. */
  data?: unknown;
  [unknown: string]: unknown;
}

/**
 * The events by type. Augment it to type your own:
 * `declare module 'claimr-relay' { interface RelayEvents { level_up: RelayEvent & { level: number } } }`
 */
export interface RelayEvents {
  /** A task or a quest was completed. */
  user_activity: RelayEvent;
  /** A reward was received. */
  user_reward: RelayEvent;
  /** Somebody joined through a referral, or a referred user acted. */
  referral: RelayEvent;
  /** The user signed in. */
  user_login: RelayEvent;
}

/** Events between two points of the stream may be missing: reload what you show. */
export interface Gap {
  /** The new position; events after it follow. */
  id: string | undefined;
  /** `evicted`, `other_epoch`, `ahead_of_head`, `invalid_cursor`, or `overflow` of an iterator that was read too slowly. */
  reason: string;
}

/**
 * `idle` not asked to connect, or signed out · `connecting` until the first `$hello` · `connected` · `reconnecting` ·
 * `closed` by `close()` or for good, see `error`.
 */
export type Status = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed';

/** A way to carry the stream. */
export type Transport = 'ws' | 'sse';

/** The state of a client. */
export interface State {
  readonly status: Status;
  /** True once the connection has been away for `lostAfter`: the moment to tell the user. */
  readonly lost: boolean;
  readonly transport: Transport | undefined;
  /** Why the client is closed, unless `close()` closed it. */
  readonly error: GatewayError | undefined;
}

/** What each listener is given. `*` hears every event. */
export interface Listened extends RelayEvents {
  '*': RelayEvents[keyof RelayEvents];
  /** The client itself, whenever `status`, `lost` or `transport` changed. */
  status: State;
  gap: Gap;
  error: GatewayError;
}

/** `T` for a known type of event, else the plain event. */
export type EventOf<T extends string> = T extends keyof Listened ? Listened[T] : RelayEvent;

/** Any name, with completion of the known ones. */
export type EventName = keyof Listened | (string & {});

export interface ListenOptions {
  /** Unsubscribes when aborted. */
  signal?: AbortSignal | undefined;
  /** Unsubscribes after the first call. */
  once?: boolean | undefined;
}

/** Why a token is asked for: there was none, the last one is getting old, or the gateway's word about the last one. */
export type TokenReason = 'initial' | 'refresh' | 'token_expired' | 'token_rejected' | 'token_revoked' | (string & {});

/** Where the cursor survives a reload: `Storage` fits. Exceptions are ignored. */
export interface CursorStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** Time and chance, replaceable in tests; `globalThis` is one. */
export interface Clock {
  Date: { now(): number };
  Math: { random(): number };
  setTimeout(callback: () => void, ms: number): unknown;
  clearTimeout(timer: never): void;
}

export interface ClientOptions {
  /** The gateway's `/v1`: http(s), ws(s), or relative to the page. */
  url: string | URL;
  /**
   * Fetches a JWT for the signed-in user from your backend. `null`: signed out, the client goes idle until `connect()`.
   * Throw `StopError` to close the client; any other error is retried. One call at a time, 10 s limit (`signal`).
   */
  getToken: (ask: { reason: TokenReason; signal: AbortSignal }) => Promise<string | null | undefined> | string | null | undefined;
  /** In order of preference; default WebSocket, then SSE. */
  transports?: readonly Transport[] | undefined;
  /** Only events of these types are sent. */
  types?: readonly string[] | undefined;
  /** How far back a first connection without cursor starts, for example `30s`. */
  since?: string | undefined;
  /** Where the cursor is kept: `memory` (default), `session` (survives a reload of the tab), or a storage of your own. */
  resume?: 'memory' | 'session' | CursorStorage | undefined;
  /** Reconnect delays: 100 ms + a random part of `base`·2ⁿ up to `cap`. Default 1,000 and 30,000 ms. */
  backoff?: { base?: number; cap?: number } | undefined;
  /** From dial to `$hello`. Default 10,000 ms. */
  connectTimeout?: number | undefined;
  /** Disconnects while the page is hidden, and resumes when it is seen again. Default false. */
  pauseWhenHidden?: boolean | undefined;
  /** After how long without a connection `lost` becomes true. Default 5,000 ms. */
  lostAfter?: number | undefined;
  /** Closes the client when aborted. */
  signal?: AbortSignal | undefined;
  /** For runtimes without one, for example the `ws` package on Node 20. */
  WebSocket?: unknown;
  fetch?: typeof globalThis.fetch | undefined;
  /** Told of every step; `console.debug` fits. Never given a token. */
  logger?: ((message: string, detail?: unknown) => void) | undefined;
  /** For tests: see `claimr-relay/testing`. */
  clock?: Clock | undefined;
}

export interface RelayClient extends State, Disposable {
  /** The position up to which everything has been delivered. */
  readonly lastEventId: string | undefined;
  /** Calls `handler` for events of a type; connects if this is the first listener. Returns its own unsubscribe. */
  on<T extends EventName>(type: T, handler: (event: EventOf<T>) => void, options?: ListenOptions): () => void;
  /**
   * Events of a type as an async iterator, from now on. It holds 256: if they are read too slowly, the oldest are dropped
   * and `gap` says so. Ends on `close()` or `signal`; throws the `GatewayError` that closed the client.
   */
  events<T extends EventName>(type: T, options?: { signal?: AbortSignal | undefined }): AsyncIterableIterator<EventOf<T>>;
  /** Connects if idle; resolves when connected, rejects when closed. */
  ready(): Promise<void>;
  /** Connects if idle or closed; otherwise does nothing. */
  connect(): void;
  /** Asks for a new token and dials now, with the cursor. */
  reconnect(): void;
  /** Disconnects and forgets the token. Listeners stay; `connect()` starts again. */
  close(): void;
}
