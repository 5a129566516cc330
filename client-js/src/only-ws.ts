/** `claimr-relay/ws`: WebSocket alone, for those who count bytes. */
import { makeClient } from './client.js';
import { ws } from './ws.js';
import type { ClientOptions, RelayClient } from './types.js';

export { GatewayError, StopError } from './errors.js';
export type * from './types.js';

/** A client that knows WebSocket only. It connects on the first listener, or by `connect()`. */
export function createClient(options: ClientOptions): RelayClient {
  return makeClient(options, () => ({ pick: () => ['ws', ws] }));
}
