/**
 * What happens to a page: hidden, frozen into the back-forward cache, shown again, online again. Never `beforeunload`, which
 * costs a page its place in that cache. Does nothing where there is no page.
 */

/**
 * Calls `sleep` when the page must not hold a connection, and `wake` when something changed for the better, with `true` if the
 * page itself is back. Returns what stops watching.
 */
export function watchPage(sleep: () => void, wake: (seen: boolean) => void, pauseWhenHidden: boolean | undefined): () => void {
  const control = new AbortController();
  const { document, addEventListener } = globalThis;
  addEventListener?.('pagehide', sleep, control);
  addEventListener?.('pageshow', (event) => event.persisted && wake(true), control);
  addEventListener?.('online', () => wake(false), control);
  addEventListener?.('visibilitychange', () => (document.hidden ? pauseWhenHidden && sleep() : wake(true)), control);
  if (pauseWhenHidden && document?.hidden) sleep();
  return () => control.abort();
}
