/** Errors as data, for those too that check no messages: their schema is in `protocol/failed.ts`. */

/** So many causes of an error travel with it, each the cause of the one before. */
export const MAX_CAUSES = 4;

/** An error as data: what survives between processes. */
export interface ErrorRecord {
  name: string;
  message: string;
  code?: string | number;
  stack?: string;
  /** The error says that another try may succeed. */
  retryable?: boolean;
  cause?: ErrorRecord;
  /** Those that it has gathered, as an `AggregateError` does. */
  errors?: ErrorRecord[];
  /** Errors that are properties of it, by name. */
  held?: Record<string, ErrorRecord>;
  /** Its other properties. */
  own?: Record<string, unknown>;
  /** A value that did not validate. */
  invalid?: { functionName: string; side: "input" | "output"; path: string; problem: string };
  /** No failure: a result that did not fit, kept in the worker until it is fetched. */
  kept?: { ticket: number; bytes: number };
}
