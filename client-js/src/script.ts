/** What a page gets from a script tag, as `ClaimrRelay`. (`claimr` is the name of claimr's own widget.) */
export { createClient, GatewayError, StopError } from './index.js';
export { createSharedClient } from './shared.js';
