/** The real gateway as a child process, and what is said to it from outside: signed webhooks, tokens, signals. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GatewayOptions } from './lab.js';

/** The binary to test. */
export const BINARY = process.env.CLAIMR_RELAY_BIN ?? join(ROOT, '../target/debug/claimr-relay');

const ISSUER = 'https://app.example.com';
const AUDIENCE = 'claimr-relay';

/** A port that was free just now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

const until = async (what: string, look: () => Promise<boolean>, ms = 10_000) => {
  for (const end = Date.now() + ms; Date.now() < end; ) {
    if (await look().catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${what} not within ${ms} ms`);
};

export class Gateway {
  /** One secret for all: HMAC wants 32 bytes. */
  readonly #tokenSecret = randomBytes(32).toString('hex');
  readonly #hookSecret = randomBytes(16).toString('hex');
  readonly #folder = mkdtempSync(join(tmpdir(), 'claimr-relay-'));
  #process: ChildProcess | undefined;
  #published = 0;

  private constructor(
    readonly port: number,
    readonly adminPort: number,
  ) {}

  static async start(options: GatewayOptions, origins: string[]): Promise<Gateway> {
    if (!existsSync(BINARY)) throw new Error(`no gateway at ${BINARY}: build it, or set CLAIMR_RELAY_BIN`);
    const gateway = new Gateway(await freePort(), await freePort());
    gateway.#configure(options, origins);
    await gateway.start();
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  #configure({ server, store, auth, limits }: GatewayOptions, origins: string[]): void {
    const section = (values: Record<string, unknown>) =>
      Object.entries(values)
        .map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`)
        .join('');
    const text = `
[server]
${section({ listen: `127.0.0.1:${this.port}`, admin_listen: `127.0.0.1:${this.adminPort}`, allowed_origins: origins, drain_window: '1s', ...server })}
[store]
${section({ engine: 'disk', path: join(this.#folder, 'data'), ...store })}
[auth]
${section({ issuer: ISSUER, audience: AUDIENCE, leeway: '0s', ...auth })}
[[auth.keys]]
alg = "HS256"
secret = { value = "${this.#tokenSecret}" }
[[sources]]
name = "claimr"
secrets = [{ value = "${this.#hookSecret}" }]
[limits]
${section({ sessions_per_address_max: 1000, new_sessions_per_address_per_s_max: 1000, ...limits })}`;
    writeFileSync(join(this.#folder, 'relay.toml'), text);
  }

  /** Starts it, on the same port and data as before; resolves when it serves. */
  async start(): Promise<void> {
    const log = openSync(join(this.#folder, 'log'), 'a');
    const child = (this.#process = spawn(BINARY, ['serve', '--config', join(this.#folder, 'relay.toml')], { stdio: ['ignore', log, log] }));
    closeSync(log);
    await until('the gateway is ready', async () => {
      if (child.exitCode !== null) throw new Error(`the gateway ended with ${child.exitCode}; see ${this.#folder}/log`);
      return (await fetch(`http://127.0.0.1:${this.adminPort}/healthz`)).ok;
    });
  }

  async signal(signal: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    const child = this.#process!;
    const ended = signal == 'SIGKILL' || signal == 'SIGTERM' ? once(child, 'exit') : undefined;
    child.kill(signal);
    await ended;
  }

  /** Forgets the events; only while it is down. */
  wipe(): void {
    rmSync(join(this.#folder, 'data'), { recursive: true, force: true });
  }

  async close(): Promise<void> {
    const child = this.#process!;
    if (child.exitCode === null && child.signalCode === null) await this.signal('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  token(user: string, seconds: number, secret = this.#tokenSecret): string {
    const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');
    const now = Math.floor(Date.now() / 1000);
    const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ iss: ISSUER, aud: AUDIENCE, sub: user, iat: now, exp: now + seconds })}`;
    return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
  }

  /** One delivery of `count` events; returns their ids. Tried again while the gateway is away, as claimr would. */
  async publish(user: string, count: number, scope = 'user_activity'): Promise<string[]> {
    const [platform, account] = user.split(':');
    const events = Array.from({ length: count }, () => ({ platform, account, event_type: 'task_completed', event_xp: 1, n: this.#published++ }));
    const body = JSON.stringify(count == 1 ? events[0] : events);
    const signature = createHmac('sha256', this.#hookSecret).update(body).digest('hex');
    for (let attempt = 0; ; attempt++) {
      try {
        const response = await fetch(`${this.url}/hooks/claimr/${scope}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'x-signature': signature },
          body,
        });
        const answer = (await response.json()) as { ids: string[] };
        if (response.status == 200) return answer.ids;
        if (response.status != 503) throw Object.assign(new Error(`webhook: ${response.status} ${JSON.stringify(answer)}`), { final: true });
      } catch (error) {
        if (attempt > 100 || (error as { final?: boolean }).final) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
