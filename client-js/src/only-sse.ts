/** `claimr-relay/sse`: SSE alone, for those who count bytes. */
import { makeClient } from './client.js';
import { sse } from './sse.js';
import type { ClientOptions, RelayClient } from './types.js';

export { GatewayError, StopError } from './errors.js';
export type * from './types.js';

/** A client that knows SSE only. It connects on the first listener, or by `connect()`. */
export function createClient(options: ClientOptions): RelayClient {
  return makeClient(options, () => ({ pick: () => ['sse', sse] }));
}
