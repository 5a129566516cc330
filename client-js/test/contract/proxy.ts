/** A TCP proxy in front of the gateway: counts streams, cuts connections, and blocks WebSocket as some networks do. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { ProxyRules, Traffic } from './lab.js';

type Kind = 'ws' | 'sse';

export class Proxy {
  rules: ProxyRules = {};
  readonly #server: Server;
  readonly #open = new Map<Socket, Kind | undefined>();
  readonly #total = { ws: 0, sse: 0 };

  private constructor(readonly upstreamPort: number) {
    this.#server = createServer((client) => this.#serve(client));
  }

  static async start(upstreamPort: number): Promise<Proxy> {
    const proxy = new Proxy(upstreamPort);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  traffic(): Traffic {
    const open = (kind: Kind) => [...this.#open.values()].filter((other) => other == kind).length;
    return { ...this.#total, openWs: open('ws'), openSse: open('sse') };
  }

  /** Every connection breaks. */
  cut(): void {
    for (const client of this.#open.keys()) client.destroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }

  #serve(client: Socket): void {
    if (this.rules.refuse) return void client.destroy();
    const upstream = connect(this.upstreamPort, '127.0.0.1');
    this.#open.set(client, undefined);
    // A request begins a segment; a connection may carry several, one after the other (a preflight, then the stream).
    client.on('data', (chunk) => {
      const path = /^GET \/v1\/(ws|sse)\b/.exec(chunk.toString('latin1', 0, 64));
      const kind = path?.[1] as Kind | undefined;
      if (kind == 'ws' && this.rules.blockWebSocket) {
        client.end('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
        return;
      }
      if (kind) {
        this.#open.set(client, kind);
        this.#total[kind]++;
      }
      upstream.write(chunk);
    });
    upstream.on('data', (chunk) => client.write(chunk));
    const end = () => {
      this.#open.delete(client);
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) socket.setNoDelay(true).on('end', () => socket == upstream && client.end()).on('close', end).on('error', end);
  }
}
