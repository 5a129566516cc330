/** One attempt to be connected, and the times that it is measured by, in milliseconds. */
import type { Auth, Dial } from './carrier.js';
import type { Transport } from './types.js';

/** How long `getToken` may take. */
export const TOKEN_LIMIT = 1e4;
/** Beyond the server's interval of pings, how long its silence may last. */
export const GRACE = 1e4;
/** After a connection this old, delays start small again. */
export const STABLE = 3e4;
/** The part of a token's life after which the next one is asked for. */
export const WORN = 0.8;

/** A connection or the wish for one; aborted as soon as it is neither `live` nor `next`. */
export interface Attempt extends AbortController, Pick<Dial, 'data' | 'end'> {
  cursor?: string | undefined;
  /** When its silence ends it. */
  due: number;
  /** How long it may be silent. */
  wait: number;
  /** When it said `$hello`. */
  since: number;
  name?: Transport;
  /** Absent while it is being asked for. */
  token?: string;
  auth?: Auth | void;
}
