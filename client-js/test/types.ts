/** What TypeScript makes of the API; compiled, not run. */
import { createClient, type RelayClient, type RelayEvent } from 'claimr-relay';

declare module 'claimr-relay' {
  interface RelayEvents {
    level_up: RelayEvent & { data: { level: number } };
  }
}

export async function types(): Promise<void> {
  const relay: RelayClient = createClient({ url: '/v1', getToken: async ({ signal }) => (await fetch('/relay-token', { signal })).text() });
  const off: () => void = relay.on('level_up', ({ data }) => data.level.toFixed());
  relay.on('user_reward', ({ points, reward, anything }) => [points?.toFixed(), reward?.name, anything satisfies unknown]);
  relay.on('something_new', (event) => event.id.length, { once: true });
  relay.on('status', ({ status, error }) => status == 'closed' && error?.closeCode.toFixed());
  relay.on('gap', ({ reason }) => reason.length);
  relay.on('error', ({ docs, retryable }) => retryable || docs.length);
  // @ts-expect-error a status has no points
  relay.on('status', ({ points }) => points);
  // @ts-expect-error nobody but the client sets it
  relay.status = 'idle';
  // @ts-expect-error getToken is needed
  createClient({ url: '/v1' });
  for await (const { data } of relay.events('level_up', { signal: AbortSignal.timeout(1) })) data.level.toFixed();
  off();
  using other = relay;
  other.close();
}
