/** What most stories start with: a fake gateway, a client of it, and a record of what the client said. */
import { createClient, type GatewayError } from '../../src/index.js';
import { FakeServer } from '../../src/testing.js';
import type { ClientOptions, RelayClient, RelayEvent } from '../../src/types.js';

export interface Story {
  server: FakeServer;
  relay: RelayClient;
  /** The reasons with which a token was asked for. */
  asked: string[];
  events: RelayEvent[];
  statuses: string[];
  errors: GatewayError[];
  gaps: string[];
  /** Time passes. */
  pass(ms?: number): Promise<void>;
}

/** Tells a story whose client gets the tokens `token-1`, `token-2`, … and listens to everything. */
export function story(options: Partial<ClientOptions> = {}, make: (options: ClientOptions) => RelayClient = createClient, server = new FakeServer()): Story {
  const asked: string[] = [];
  const relay = make({
    ...server.options,
    getToken: ({ reason }) => `token-${asked.push(reason)}`,
    ...options,
  });
  const self: Story = { server, relay, asked, events: [], statuses: [], errors: [], gaps: [], pass: (ms = 0) => server.clock.advance(ms) };
  relay.on('status', ({ status, lost }) => self.statuses.push(lost ? `${status}, lost` : status));
  relay.on('error', (error) => self.errors.push(error));
  relay.on('gap', ({ reason }) => self.gaps.push(reason));
  relay.on('*', (event) => self.events.push(event));
  return self;
}

/** A story whose client is connected. */
export async function connected(...args: Parameters<typeof story>): Promise<Story> {
  const self = story(...args);
  await self.pass();
  return self;
}

/** Publishes `count` events, and gives their numbers. */
export const publish = ({ server }: Story, count = 1): number[] =>
  Array.from({ length: count }, () => Number(server.publish({ type: 'user_activity' }).id.split(':')[1]));

/** The numbers of the events that arrived. */
export const seqs = ({ events }: Pick<Story, 'events'>): number[] => events.map(({ id }) => Number(id.split(':')[1]));

/** Everything refused as if nobody listened, until the function that it returns is called. */
export function outage({ server }: Story): () => void {
  const { admit } = server;
  server.admit = () => 'unreachable';
  server.cut();
  return () => (server.admit = admit);
}

/** A page around the client, until the function that it returns is called. */
export function page(): { show(type: string, init?: object): void; hidden: boolean; leave(): void } {
  const target = new EventTarget();
  const document = { hidden: false };
  const before = { addEventListener: globalThis.addEventListener, document: globalThis.document };
  Object.assign(globalThis, { addEventListener: target.addEventListener.bind(target), document });
  return {
    show: (type, init = {}) => void target.dispatchEvent(Object.assign(new Event(type), init)),
    get hidden() {
      return document.hidden;
    },
    set hidden(hidden) {
      document.hidden = hidden;
      target.dispatchEvent(new Event('visibilitychange'));
    },
    leave: () => void Object.assign(globalThis, before),
  };
}
