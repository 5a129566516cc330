/** Positions `<epoch>:<seq>`: which of two is newer, and where the last one is kept. */
import type { ClientOptions, CursorStorage } from './types.js';

/** Whether somebody who is at `seen` has not seen `id`. Another epoch is another log, so always news. */
export function isNews(id: string, seen: string | undefined): boolean {
  const [epoch, seq] = id.split(':');
  const [seenEpoch, seenSeq] = seen?.split(':') ?? [];
  return epoch != seenEpoch || Number(seq) > Number(seenSeq);
}

/** Reads, or with a value writes, a word about this gateway. Where there is no storage, or it refuses, we work without. */
export type Store = (key: string, value?: string) => string | null | undefined | void;

export const createStore =
  ({ resume, url }: ClientOptions): Store =>
  (key, value) => {
    try {
      // The cursor goes where the application wants it; `memory` is a word without methods. The rest is worth a tab's life.
      const storage = (key != 'cursor' || resume == 'session' ? sessionStorage : resume) as Partial<CursorStorage> | undefined;
      key = `claimr-relay:${url}:${key}`;
      return value ? storage?.setItem?.(key, value) : storage?.getItem?.(key);
    } catch {}
  };
