/** What a scenario stands on, in Node or in a page: a place of its own, clients of it, and conditions to wait for. */
import { createClient, type GatewayError } from '../../src/index.js';
import type { ClientOptions, RelayClient, Transport } from '../../src/types.js';
import type { Control, GatewayOptions } from './lab.js';

/** What differs between runtimes. */
export interface Runtime {
  control: Control;
  /** For `createClient`. */
  options: Partial<ClientOptions>;
}

/** A client and all that it said. */
export interface Witness {
  relay: RelayClient;
  ids: string[];
  statuses: string[];
  errors: GatewayError[];
  gaps: string[];
  /** Why tokens were asked for. */
  asked: string[];
}

/** Waits until `look` is true. */
export async function until(what: string, look: () => boolean | Promise<boolean>, ms = 15_000): Promise<void> {
  for (const end = Date.now() + ms; Date.now() < end; ) {
    if (await look()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${what}: not within ${ms} ms`);
}

export const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export function equal(actual: unknown, expected: unknown, what: string): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a != b) throw new Error(`${what}:\n  is        ${a?.slice(0, 2_000)}\n  should be ${b?.slice(0, 2_000)}`);
}

/** Binds a place's operations to it. */
type Bound = { [K in keyof Control]: Control[K] extends (place: string, ...args: infer A) => infer R ? (...args: A) => R : never };

export class Stage {
  readonly #relays: RelayClient[] = [];

  private constructor(
    readonly runtime: Runtime,
    readonly place: string,
    readonly url: string,
  ) {}

  static async open(runtime: Runtime, options: GatewayOptions = {}): Promise<Stage> {
    const { place, url } = await runtime.control.open(options);
    return new Stage(runtime, place, url);
  }

  /** The controls of this place. */
  readonly to = new Proxy({} as Bound, {
    get: (_, operation: Exclude<keyof Control, 'open'>) => (...args: unknown[]) =>
      (this.runtime.control[operation] as (...args: unknown[]) => unknown)(this.place, ...args),
  });

  /** A connected client of `acme:alice`, or one that is on its way. */
  async witness(options: Partial<ClientOptions> & { seconds?: number; wait?: boolean } = {}): Promise<Witness> {
    const { seconds = 600, wait = true, ...rest } = options;
    const witness: Omit<Witness, 'relay'> = { ids: [], statuses: [], errors: [], gaps: [], asked: [] };
    const relay = createClient({
      url: this.url,
      getToken: ({ reason }) => {
        witness.asked.push(reason);
        return this.to.token('acme:alice', seconds);
      },
      backoff: { base: 200, cap: 1_000 },
      connectTimeout: 3_000,
      ...this.runtime.options,
      ...rest,
    });
    this.#relays.push(relay);
    relay.on('status', ({ status }) => witness.statuses.at(-1) != status && witness.statuses.push(status));
    relay.on('error', (error) => witness.errors.push(error));
    relay.on('gap', ({ reason }) => witness.gaps.push(reason));
    relay.on('*', ({ id }) => witness.ids.push(id));
    if (wait) await until('connected', () => relay.status == 'connected');
    return { relay, ...witness };
  }

  /** Waits until the client has heard exactly these events, in this order. */
  async heard({ ids }: Pick<Witness, 'ids'>, expected: string[], what = 'events'): Promise<void> {
    await until(`${what}: ${expected.length} of them`, () => ids.length >= expected.length, 30_000).catch((error: Error) => {
      throw new Error(`${error.message}; ${ids.length} came`);
    });
    equal(ids, expected, what);
  }

  async close(): Promise<void> {
    for (const relay of this.#relays) relay.close();
    await this.runtime.control.close(this.place);
  }
}

export const carriers: readonly Transport[] = ['ws', 'sse'];
