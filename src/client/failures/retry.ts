/** Which failures another attempt may mend. */
import { FunctionError, LeaseLost, WorkerLost } from "../../base/errors.ts";

/** Whether a call that ended so may be retried: its function said so, or its worker was lost. */
export const mayRunAgain = (error: unknown): boolean =>
  error instanceof WorkerLost ||
  error instanceof LeaseLost ||
  (error instanceof FunctionError && error.retryable);
