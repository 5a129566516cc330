/** How long to wait before the next dial. Full jitter: the clients of a dead node must not come back together. */

const MIN = 100;

export interface Backoff {
  base?: number | undefined;
  cap?: number | undefined;
}

/** 100 ms + U(0, base·2ⁿ); `slow` is for a gateway that asks for less: 10 s base, 5 min cap. In milliseconds. */
export const backoff = (random: number, attempt: number, slow: boolean, { base = 1e3, cap = 3e4 }: Backoff = {}): number =>
  MIN + random * (slow ? Math.min(3e5, 1e4 * 2 ** attempt) : Math.min(cap, base * 2 ** attempt));
