/** The two ends of the fake network: a `WebSocket` class and a `fetch` for the client, sessions for the server. */
import type { FakeDial, FakeServer } from '../testing.js';

/** One client's connection, as the server sees it. */
export interface FakeSession extends FakeDial {
  /** Sends a frame; a string as it is, for what no gateway would send. */
  send(frame: object | string): void;
  /** `$bye`, then closes. */
  bye(code: number, reason: string, retryAfterMs?: number): void;
  /** The connection breaks. */
  cut(): void;
  /** Nothing arrives any more, and nobody notices. */
  freeze(): void;
}

/** What SSE shows of a frame beside its data. */
interface Frame {
  type?: string;
  id?: string;
}

/** Builds a session around what writes a frame, and what ends the connection with a code (0: it breaks). */
function session(server: FakeServer, dial: FakeDial, write: (text: string, frame: Frame) => void, finish: (code: number, reason: string) => void) {
  let frozen = false;
  const self: FakeSession = {
    ...dial,
    send: (frame) => {
      if (frozen) return;
      if (typeof frame == 'string') write(frame, {});
      else write(JSON.stringify(frame), frame);
    },
    bye(code, reason, retry_after_ms) {
      self.send({ type: '$bye', code, reason, retry_after_ms });
      if (server.sessions.delete(self) && !frozen) finish(code, reason);
    },
    cut() {
      if (server.sessions.delete(self) && !frozen) finish(0, '');
    },
    freeze() {
      frozen = true;
    },
  };
  return self;
}

/** A class that connects to `server` and does as a browser's `WebSocket`. */
export function openWebSocket(server: FakeServer): unknown {
  return class FakeWebSocket {
    onmessage: ((event: { data: string }) => void) | null = null;
    onclose: ((event: { code: number; reason: string }) => void) | null = null;
    onerror: (() => void) | null = null;
    #session: FakeSession | undefined;
    #closed = false;

    constructor(address: string, protocols: string[]) {
      const url = new URL(address);
      const token = protocols.find((protocol) => protocol.startsWith('claimr.bearer.'))?.slice(14) ?? '';
      const dial: FakeDial = { transport: 'ws', token, cursor: url.searchParams.get('last_event_id') ?? undefined, url };
      server.dials.push(dial);
      const refusal = server.admit(dial);
      if (refusal == 'silent') return;
      const write = (data: string) => this.#later(() => this.onmessage?.({ data }));
      const self = (this.#session = session(server, dial, write, (code, reason) => this.#end(code || 1006, reason)));
      this.#later(() => {
        if (refusal == 'unreachable') this.#end(1006, '');
        else if (refusal) {
          self.send({ type: '$bye', code: refusal, reason: `refused_${refusal}` });
          this.#end(refusal, `refused_${refusal}`);
        } else server.welcome(self, dial.cursor);
      });
    }

    send(text: string): void {
      const { token } = JSON.parse(text) as { token: string };
      const self = this.#session!;
      const code = server.admitToken(token);
      self.token = token;
      if (code) self.bye(code, `refused_${code}`);
      else self.send({ type: '$auth', ok: true, ttl_ms: server.ttlMs });
    }

    close(): void {
      this.#closed = true;
      if (this.#session) server.sessions.delete(this.#session);
    }

    /** Messages arrive in later turns, in order. */
    #later(run: () => void): void {
      queueMicrotask(() => {
        if (!this.#closed) run();
      });
    }

    #end(code: number, reason: string): void {
      this.#later(() => {
        this.#closed = true;
        this.onerror?.();
        this.onclose?.({ code, reason });
      });
    }
  };
}

/** The status that a refusal has over HTTP. */
const STATUS: Record<number, number> = { 4101: 401, 4100: 401, 4400: 400, 4403: 403, 4202: 429, 4200: 503 };

/** A `fetch` that gives `server`'s stream of events. */
export function openSse(server: FakeServer): typeof fetch {
  return async (input, init = {}) => {
    const url = new URL(String(input));
    const headers = new Headers(init.headers);
    const token = headers.get('authorization')?.slice('Bearer '.length) ?? '';
    const dial: FakeDial = { transport: 'sse', token, cursor: headers.get('last-event-id') ?? undefined, url };
    server.dials.push(dial);
    const refusal = server.admit(dial);
    const { signal } = init;
    if (refusal == 'silent') await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    if (refusal == 'unreachable') throw new TypeError('fetch failed');
    if (refusal) return Response.json({ error: { code: `refused_${refusal}` } }, { status: STATUS[refusal as number] ?? 500 });

    let stream!: ReadableStreamDefaultController<Uint8Array>;
    const body = new ReadableStream<Uint8Array>({ start: (controller) => void (stream = controller) });
    const encoder = new TextEncoder();
    const write = (data: string, { type, id }: Frame) => {
      const name = type?.startsWith('$') ? `event: ${type}\n` : '';
      const text = type == '$ping' ? ': ping\n\n' : `${name}${id ? `id: ${id}\n` : ''}data: ${data}\n\n`;
      stream.enqueue(encoder.encode(text));
    };
    const self = session(server, dial, write, (code) => (code ? stream.close() : stream.error(new TypeError('network error'))));
    signal?.addEventListener('abort', () => {
      if (server.sessions.delete(self)) stream.error(signal.reason);
    });
    stream.enqueue(encoder.encode('retry: 3000\n\n'));
    server.welcome(self, dial.cursor);
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  };
}
