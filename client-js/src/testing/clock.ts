/** Time that passes only when a test says so. Chance is a number that a test can set. */
import type { Clock } from '../types.js';

interface Timer {
  at: number;
  callback: () => void;
}

/** Lets everything that is ready to run, run: promises, streams, messages. */
const settle = () => new Promise<void>((resolve) => globalThis.setTimeout(resolve, 0));

export class FakeClock implements Clock {
  /** What `Math.random` gives. */
  chance: number | (() => number) = 0.5;
  #now = 1_700_000_000_000;
  readonly #timers = new Set<Timer>();

  /** What the wall clock shows beyond the time that has passed. */
  #ahead = 0;

  readonly Date = { now: () => this.#now + this.#ahead };
  readonly Math = { random: () => (typeof this.chance == 'number' ? this.chance : this.chance()) };

  readonly setTimeout = (callback: () => void, ms: number): unknown => {
    const timer = { at: this.#now + Math.max(ms, 0), callback };
    this.#timers.add(timer);
    return timer;
  };

  readonly clearTimeout = (timer: unknown): void => void this.#timers.delete(timer as Timer);

  /** How many timers are set. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Time passes, and timers run when they are due. */
  async advance(ms: number): Promise<void> {
    await settle();
    const end = this.#now + ms;
    for (;;) {
      const [timer] = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (!timer) break;
      this.#now = Math.max(this.#now, timer.at);
      this.#timers.delete(timer);
      timer.callback();
      await settle();
    }
    this.#now = end;
  }

  /** Somebody sets the wall clock, ahead or back. Timers do not mind. */
  set(ms: number): void {
    this.#ahead += ms;
  }

  /** The machine sleeps: time passes, nothing runs. Timers that became due run at the next `advance`. */
  sleep(ms: number): void {
    this.#now += ms;
  }
}
