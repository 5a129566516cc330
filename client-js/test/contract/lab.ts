/** What a scenario may do to the world around a client. The same in Node and, by HTTP, in a page. */

/** Settings of a gateway that scenarios change. */
export interface GatewayOptions {
  /** Lines of `[limits]`. */
  limits?: Record<string, number>;
  /** Lines of `[store]`, `[auth]` and `[server]`. */
  store?: Record<string, unknown>;
  auth?: Record<string, unknown>;
  server?: Record<string, unknown>;
}

/** What has gone through the proxy. */
export interface Traffic {
  /** Streams ever, and now, by carrier. */
  ws: number;
  sse: number;
  openWs: number;
  openSse: number;
}

/** What the proxy does to new connections. */
export interface ProxyRules {
  /** Answers 502 to a WebSocket handshake. */
  blockWebSocket?: boolean;
  /** Lets nobody through. */
  refuse?: boolean;
}

/** One operation each; the first argument of most is the place that `open` returned. */
export interface Control {
  /** Starts a gateway behind a proxy. */
  open(options: GatewayOptions): Promise<{ place: string; url: string }>;
  close(place: string): Promise<void>;
  /** A JWT for a user. */
  token(place: string, user: string, seconds: number, forged?: boolean): Promise<string>;
  /** Sends `count` events for the user as signed webhooks, at most 50 a delivery; returns their ids. */
  publish(place: string, user: string, count: number, scope?: string): Promise<string[]>;
  kill(place: string): Promise<void>;
  /** SIGTERM; resolves when the process has ended. */
  drain(place: string): Promise<void>;
  start(place: string): Promise<void>;
  freeze(place: string): Promise<void>;
  thaw(place: string): Promise<void>;
  /** While it is down: forgets everything. */
  wipe(place: string): Promise<void>;
  rules(place: string, rules: ProxyRules): Promise<void>;
  /** Cuts every connection. */
  cut(place: string): Promise<void>;
  traffic(place: string): Promise<Traffic>;
}
