/** Which failures another attempt may mend. */
import { FunctionError, LeaseLost, WorkerLost } from "../../base/errors.ts";

/** Whether a call that ended so may be made again: its function said so, or whoever ran it is gone. */
export const mayRunAgain = (error: unknown): boolean =>
  error instanceof WorkerLost ||
  error instanceof LeaseLost ||
  (error instanceof FunctionError && error.retryable);
