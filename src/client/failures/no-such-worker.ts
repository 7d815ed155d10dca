import { UsageError } from "../../base/errors.ts";
import { show } from "../../base/show.ts";

/** The error for a worker number that the lease does not have. */
export const noSuchWorker = (worker: number, first: number, workers: number): UsageError =>
  new UsageError(
    `the lease has workers ${first} to ${first + workers - 1}; there is no worker ${show(worker)}`,
  );
