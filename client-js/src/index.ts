/** `claimr-relay`: WebSocket where it works, SSE where it does not. */
import { makeClient } from './client.js';
import { withFallback } from './fallback.js';
import { sse } from './sse.js';
import type { ClientOptions, RelayClient } from './types.js';
import { ws } from './ws.js';

export { GatewayError, StopError } from './errors.js';
export type * from './types.js';

const CARRIERS = { ws, sse };

/** A client of one gateway. It connects on the first listener, or by `connect()`. */
export function createClient(options: ClientOptions): RelayClient {
  const { transports = ['ws', 'sse'] } = options;
  // Node 20 has no WebSocket. One that is the only choice fails when it is tried, and says why.
  const usable = transports.filter((name) => name != 'ws' || options.WebSocket || globalThis.WebSocket || !transports[1]);
  return makeClient(options, (store, now) => withFallback(usable.map((name) => [name, CARRIERS[name]]), store, now));
}
