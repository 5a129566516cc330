/** Errors that an application meets, each with a page that says what to do. */

const DOCS = 'https://github.com/claimr-relay/claimr-relay/blob/main/docs/errors.md#';

/** Why a connection could not be made, ended, or will not be tried again. */
export class GatewayError extends Error {
  override name = 'GatewayError';
  /** Cause and remedy. */
  readonly docs: string;

  constructor(
    /** A word: the gateway's reason, for example `token_expired`, or the client's own, for example `connection_lost`. */
    readonly code: string,
    /** The close code (4000–4499, or WebSocket's own), 0 where there was none. */
    readonly closeCode = 0,
    /** False: the client is closed for good. */
    readonly retryable = false,
    cause?: unknown,
  ) {
    super(code, { cause });
    this.docs = DOCS + code;
  }
}

/** Throw it from `getToken` to close the client instead of trying again. */
export class StopError extends Error {}
