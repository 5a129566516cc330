/** What the client asks of a way to carry the stream, and what it is told back. */
import type { ClientOptions, Transport } from './types.js';

/** One attempt to connect. */
export interface Dial {
  token: string;
  cursor: string | undefined;
  /** Bytes came; with `text` if they complete a frame. */
  data(text?: string): void;
  /** It is over: a close code, or 0 for a failure without one. */
  end(code: number, reason?: string, retryAfterMs?: number, cause?: unknown): void;
  /** Aborted when the connection is no longer wanted. What is said after that is not heard. */
  signal: AbortSignal;
}

/** Sends a new token in band. */
export type Auth = (token: string) => void;

/** Starts to connect. May throw. Gives an `Auth` if it can do that. */
export type Carrier = (dial: Dial, options: ClientOptions) => Auth | void;

/** Which carrier to use; told what became of it. */
export interface Route {
  pick(): readonly [Transport, Carrier];
  /** The carrier got as far as `$hello`. */
  worked?(name: Transport): void;
  /** It did not, for no reason that the gateway gave. True: try the next one at once. */
  failed?(name: Transport): boolean;
}

/** The address of an endpoint below the gateway's `/v1`. */
export function endpoint({ cursor }: Dial, options: ClientOptions, scheme: 'http' | 'ws', path: string, lastEventId?: string): string {
  const url = new URL(options.url, globalThis.location?.href);
  url.protocol = url.protocol.replace(/http|ws/, scheme);
  url.pathname = url.pathname.replace(/\/?$/, path);
  const add = (name: string, value: string | undefined) => value && url.searchParams.set(name, value);
  add('last_event_id', lastEventId);
  add('types', options.types?.join());
  add('since', cursor ? '' : options.since);
  return url.href;
}
